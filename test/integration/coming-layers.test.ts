import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile, stat } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import type { Descriptor } from '#core/images/images.ts'
import { encodeHeader, endOfArchive, paddingOf } from '#lib/tar/writer.ts'
import { startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { eventually } from '#testing/eventually.ts'
import { ImageRegistry } from '#testing/image-registry.ts'
import { rejectsWith } from '#testing/rejects.ts'

/* Layers that are extracted while they come. The registry holds a layer back until its first file is on disk. */

const firstBytes = 6_000_000
const secondBytes = 14_000_000

interface Given {
  readonly daemon: TestDaemon
  readonly registry: ImageRegistry
  readonly client: Client
  readonly layer: Descriptor
  /** Its second file. */
  readonly second: Buffer
  readonly name: string
}

const file = (name: string, content: Uint8Array): Uint8Array =>
  Buffer.concat([
    encodeHeader({ type: 'file', name, mode: 0o644, size: content.length }),
    content,
    Buffer.alloc(paddingOf(content.length)),
  ])

async function withLayer(body: (given: Given) => Promise<void>): Promise<void> {
  await using registry = await ImageRegistry.open()
  await using daemon = await startDaemon()
  await using client = await connect(daemon.address, { namespace: 'coming', fifoDir: daemon.dir })
  const second = randomBytes(secondBytes)
  const archive = Buffer.concat([
    file('first', randomBytes(firstBytes)),
    file('second', second),
    endOfArchive,
  ])
  const layer = registry.putGzip(archive)
  const name = registry.tag(registry.putImage([layer]), 'v1')
  await body({ daemon, registry, client, layer, second, name })
}

const snapshotsOf = (daemon: TestDaemon): string =>
  join(daemon.root, 'io.containerd.snapshotter.v1.overlayfs', 'snapshots')

/** Where `first` is, as soon as all of it is there. */
async function firstOnDisk(daemon: TestDaemon): Promise<string> {
  const dir = snapshotsOf(daemon)
  return await eventually(async () => {
    for (const id of await readdir(dir)) {
      const path = join(dir, id, 'fs', 'first')
      const size = await stat(path).then(
        (found) => found.size,
        () => 0,
      )
      if (size === firstBytes) return path
    }
    return undefined
  })
}

/** Sends the beginning of `bytes`, and what follows when that has been extracted. */
async function holdBack(
  daemon: TestDaemon,
  response: ServerResponse,
  bytes: Uint8Array,
  end: (rest: Uint8Array) => void,
): Promise<void> {
  const most = Math.round(bytes.length * 0.8)
  response.writeHead(200, { 'content-length': bytes.length })
  if (!response.write(bytes.subarray(0, most))) await once(response, 'drain')
  await firstOnDisk(daemon)
  end(bytes.subarray(most))
}

const files = async (client: Client): Promise<number> =>
  (await Array.fromAsync(client.snapshots().list())).length

const skip = process.getuid?.() !== 0 && 'needs root'
suite('layers that still come', { skip, timeout: 120_000 }, () => {
  test('are extracted meanwhile, and are there when all has come', async () => {
    await withLayer(async ({ daemon, registry, client, layer, second, name }) => {
      registry.meddle = async (digest, response) => {
        if (digest !== layer.digest) return false
        const bytes = registry.bytesOf(layer)
        await holdBack(daemon, response, bytes, (rest) => response.end(rest))
        return true
      }
      const image = await client.images.pull(name)
      const { kind } = await client.snapshots().stat(await image.chainId())
      assert.equal(kind, 'committed')
      assert.equal(registry.timesAsked(layer), 1)
      assert.equal(await files(client), 1)
      const beside = join(await firstOnDisk(daemon), '../second')
      assert.ok((await readFile(beside)).equals(second))
    })
  })

  test('leave nothing when they turn out to be something else', async () => {
    await withLayer(async ({ daemon, registry, client, layer, name }) => {
      registry.meddle = async (digest, response) => {
        if (digest !== layer.digest) return false
        const bytes = registry.bytesOf(layer)
        await holdBack(daemon, response, bytes, (rest) =>
          response.end(Buffer.alloc(rest.length, 7)),
        )
        return true
      }
      await rejectsWith('failed_precondition', client.images.pull(name), /sends something else/)
      assert.equal(await files(client), 0)
      assert.deepEqual(await client.images.list(), [])
      registry.meddle = () => false
      await client.images.pull(name)
      assert.equal(await files(client), 1)
    })
  })

  test('go on where they were cut off', async () => {
    await withLayer(async ({ daemon, registry, client, layer, name }) => {
      registry.meddle = async (digest, response, range) => {
        if (digest !== layer.digest || range !== undefined) return false
        await holdBack(daemon, response, registry.bytesOf(layer), () => response.destroy())
        return true
      }
      await client.images.pull(name).catch(async () => await client.images.pull(name))
      assert.equal(await files(client), 1)
      assert.ok(registry.asked.some((line) => line.startsWith(`${layer.digest} bytes=`)))
    })
  })
})
