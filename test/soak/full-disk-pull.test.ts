import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdirSync, symlinkSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { connect } from '#client/connect.ts'
import { RemoteLeaseManager } from '#proxy/leases.ts'
import { startDaemon } from '#testing/daemon.ts'
import { ImageRegistry } from '#testing/image-registry.ts'
import { archive, file } from '#testing/layer-archive.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { SmallDisk, type smallDisks } from './small-disk.ts'

/* Pulls to a disk that fills up: what is said, that nothing is broken, and that the same pull succeeds later. */

const layerBytes = 8 << 20

interface Case {
  readonly disk: keyof typeof smallDisks
  readonly when: string
  /** Bytes that are free when the pull begins. */
  readonly free: number
  readonly message: RegExp
}

const cases: readonly Case[] = [
  {
    disk: 'ext4',
    when: 'a layer is received',
    free: layerBytes / 2,
    message:
      /fetch sha256:[0-9a-f]{64} of "127[^"]+": .*\/ingest\/.*no space left on device.*make room/,
  },
  {
    disk: 'tmpfs',
    when: 'a layer is received',
    free: layerBytes / 2,
    message:
      /fetch sha256:[0-9a-f]{64} of "127[^"]+": .*\/ingest\/.*no space left on device.*make room/,
  },
  {
    disk: 'ext4',
    when: 'a layer is unpacked',
    free: layerBytes * 1.5,
    message:
      /unpack layer sha256:[0-9a-f]{64} of "127[^"]+": .*no space left on device.*make room on the file system of \/.*\/snapshots\/\d+\/fs, and try again/,
  },
]

void suite('a pull to a disk that is full', {
  skip: process.getuid?.() !== 0 && 'needs root',
}, () => {
  for (const { disk: kind, when, free, message } of cases) {
    void test(`${kind}, when ${when}`, { timeout: 120_000 }, async () => {
      await using registry = await ImageRegistry.open()
      await using outside = await mkdtempDisposable(join(tmpdir(), 'full-pull-'))
      await using disk = await SmallDisk.make(outside.path, kind)
      const dir = join(disk.path, 'd')
      mkdirSync(dir)
      symlinkSync(join(outside.path, 'log'), join(dir, 'log'))
      await using daemon = await startDaemon({ dir })
      await using client = await connect(daemon.address, { namespace: 'full' })
      const ctx = client.context()
      const bytes = archive(file('large', '', { content: randomBytes(layerBytes) }))
      const name = registry.tag(registry.putImage([bytes]), 'v1')

      disk.fill(free)
      await rejectsWith('resource_exhausted', client.images.pull(name), message)
      assert.deepEqual(await client.images.list(), [])
      assert.deepEqual(await Array.fromAsync(client.snapshots().list()), [])
      assert.deepEqual(await new RemoteLeaseManager(client.connection).list(ctx), [])
      assert.deepEqual(await client.content.listStatuses(ctx), [])

      disk.empty()
      const image = await client.images.pull(name)
      assert.equal((await client.snapshots().stat(await image.chainId())).kind, 'committed')
      const { contentBytes, missing } = await image.usage()
      assert.ok(contentBytes > layerBytes && missing === 0)
    })
  }
})
