import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test, type TestContext } from 'node:test'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { random } from '#testing/random.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { root } from '#testing/root.ts'

import { type KnownImage, makeCorpus } from './corpus.ts'
import { Facts } from './facts.ts'
import { SmallDisk } from './small-disk.ts'
import { Made } from './storage-work.ts'
import { abandon, assertNoLeftovers, assertWhole } from './whole.ts'

interface Given {
  readonly disk: SmallDisk
  readonly daemon: TestDaemon
  readonly images: readonly KnownImage[]
  readonly open: () => Promise<Client>
  /** Compares all there is with its digests, and looks for what nothing needs. */
  readonly check: (client: Client) => Promise<void>
}

/** A daemon on a small disk, with room for two images. */
async function onSmallDisk(t: TestContext, body: (given: Given) => Promise<void>): Promise<void> {
  if (!root(t)) return
  await using outside = await mkdtempDisposable(join(tmpdir(), 'full-disk-'))
  const images = await makeCorpus(outside.path, 2, random(21))
  await using disk = await SmallDisk.make(outside.path, 'ext4')
  const dir = join(disk.path, 'd')
  mkdirSync(dir)
  symlinkSync(join(outside.path, 'log'), join(dir, 'log'))
  await using daemon = await startDaemon({ dir })
  const signal = AbortSignal.timeout(240_000)
  const open = async (): Promise<Client> =>
    await connect(daemon.address, { namespace: 'full', signal })
  const check = async (client: Client): Promise<void> => {
    const storage = { client, dir, root: daemon.root }
    const made = new Made(images)
    await assertWhole(storage, { facts: new Facts(), made, unpacked: [] })
    await abandon(storage, made)
    await assertNoLeftovers(storage)
  }
  await body({ disk, daemon, images, open, check })
}

void suite('a daemon on a disk that is full', () => {
  void test('names the path, starts, deletes, and goes on when there is room', {
    timeout: 240_000,
  }, async (t) => {
    await onSmallDisk(t, async ({ disk, daemon, images: [first, second], open, check }) => {
      assert.ok(first && second)
      const bytes = Buffer.alloc(100_000, 'x')
      const digest = digestOf(bytes)
      {
        await using client = await open()
        await client.images.import(first.archive)
        // Wherever it runs out of room: the upload, a record, a file of a layer.
        for (const free of [0, 5_000, 20_000, 60_000, 150_000]) {
          disk.fill(free)
          const told = /\/\S+: no space left on device|ENOSPC: no space left on device, \w+ '\S+'/
          await rejectsWith('resource_exhausted', client.images.import(second.archive), told)
        }
        disk.fill(0)
        const upload = writeBlob(client.context(), client.content, [bytes], { ref: 'up', digest })
        const data = /write \/\S+\/ingest\/\S+: no space left on device/
        await rejectsWith('resource_exhausted', upload, data)
        assert.equal((await client.images.list()).length, 2)
      }
      await daemon.stop('SIGKILL')
      await daemon.start()
      await using client = await open()
      for (const { name } of await client.images.list()) {
        await client.images.delete(name, { synchronous: true })
      }
      assert.ok(disk.free > 500_000, 'the collector made room')
      disk.empty()
      await client.images.import(second.archive)
      await check(client)
    })
  })

  void test('that is full of files says so, too', { timeout: 240_000 }, async (t) => {
    await onSmallDisk(t, async ({ disk, images: [first, second], open, check }) => {
      assert.ok(first && second)
      await using client = await open()
      await client.images.import(first.archive)
      for (const files of [0, 3, 12]) {
        disk.fillFiles(files)
        await rejectsWith('resource_exhausted', client.images.import(second.archive), /no space/)
        disk.empty()
      }
      disk.fillFiles(0)
      await client.images.delete(first.name, { synchronous: true })
      disk.empty()
      await client.images.import(second.archive)
      await check(client)
    })
  })

  void test('that became read-only answers reads, and has everything when it is mended', {
    timeout: 240_000,
  }, async (t) => {
    await onSmallDisk(t, async ({ disk, daemon, images: [first, second], open, check }) => {
      assert.ok(first && second)
      {
        await using client = await open()
        await client.images.import(first.archive)
        await disk.break()
        const readOnly = /EROFS: read-only file system, \w+ '\/\S+'/
        await assert.rejects(client.images.import(second.archive), readOnly)
        await assert.rejects(client.images.delete(first.name), readOnly)
        await assert.rejects(client.snapshots().prepare('active'), readOnly)
        const [image] = await client.images.list()
        assert.equal(image?.name, first.name)
      }
      await daemon.stop()
      await disk.mend()
      await daemon.start()
      await using client = await open()
      assert.equal((await client.images.list()).length, 1)
      await check(client)
      await client.images.import(second.archive)
      await client.images.delete(first.name, { synchronous: true })
      await check(client)
    })
  })
})
