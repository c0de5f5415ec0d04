import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdir, mkdtempDisposable, stat } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import { hostPlatform, hostPlatformName } from '#core/platforms/platforms.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { alreadyExists } from '#lib/errors/errors.ts'
import { listenGrpc } from '#lib/grpc/server.ts'
import { encodeHeader, endOfArchive, paddingOf } from '#lib/tar/writer.ts'
import { snapshotsApi } from '#plugins/services/snapshots/grpc.ts'
import { OverlaySnapshotter } from '#plugins/snapshots/overlay/overlay.ts'
import type { RpcContext } from '#plugins/types.ts'
import { contextOf } from '#proxy/headers.ts'
import { RemoteLeaseManager } from '#proxy/leases.ts'
import { newContext } from '#testing/context.ts'
import { type DaemonOptions, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { eventually } from '#testing/eventually.ts'
import { ImageRegistry } from '#testing/image-registry.ts'
import { overriding } from '#testing/overriding.ts'
import { rejectsWith } from '#testing/rejects.ts'

/* Pulls by a whole daemon, from a registry that does what the test says. */

const layerType = 'application/vnd.oci.image.layer.v1.tar'

/** A layer with one file of `size` bytes that nothing else has. */
function layerOf(name: string, size: number): Uint8Array {
  const header = encodeHeader({ type: 'file', name, mode: 0o644, size })
  return Buffer.concat([header, randomBytes(size), Buffer.alloc(paddingOf(size)), endOfArchive])
}

interface Given {
  readonly daemon: TestDaemon
  readonly registry: ImageRegistry
  /** A client in a namespace, of the daemon as it runs now. */
  readonly client: (namespace?: string) => Promise<Client>
}

async function withDaemon(
  body: (given: Given) => Promise<void>,
  options: DaemonOptions = {},
): Promise<void> {
  await using registry = await ImageRegistry.open()
  await using daemon = await startDaemon(options)
  await using clients = new AsyncDisposableStack()
  const client = async (namespace = 'pull'): Promise<Client> =>
    clients.use(await connect(daemon.address, { namespace, fifoDir: daemon.dir }))
  await body({ daemon, registry, client })
}

/** Bytes of the largest upload that has begun. */
async function received(daemon: TestDaemon): Promise<number> {
  const dir = join(daemon.root, 'io.containerd.content.v1.content', 'ingest')
  const sizes = (await readdir(dir)).map(async (name) =>
    stat(join(dir, name, 'data')).then(
      ({ size }) => size,
      () => 0,
    ),
  )
  return Math.max(0, ...(await Promise.all(sizes)))
}

const names = async (client: Client): Promise<string[]> =>
  (await client.images.list()).map(({ name }) => name)

suite('pulls by the daemon', { skip: process.getuid?.() !== 0 && 'needs root' }, () => {
  const check = (title: string, body: (t: TestContext) => Promise<void>): void => {
    void test(title, { timeout: 120_000 }, body)
  }

  check('what a killed daemon had loaded is not loaded again', async () => {
    await withDaemon(async ({ daemon, registry, client }) => {
      const layer = registry.put(layerType, layerOf('large', 4_000_000))
      const name = registry.tag(registry.putImage([layerOf('small', 100), layer]), 'v1')
      const half = layer.size / 2
      registry.meddle = (digest, response) => {
        if (digest !== layer.digest) return false
        response.writeHead(200, { 'content-length': layer.size })
        // The rest never comes.
        response.write(registry.bytesOf(layer).subarray(0, half))
        return true
      }
      const cut = (await client()).images.pull(name)
      await Promise.all([
        assert.rejects(cut),
        (async () => {
          await eventually(async () => (await received(daemon)) >= half || undefined)
          await daemon.stop('SIGKILL')
        })(),
      ])
      registry.meddle = () => false
      await daemon.start()
      const again = await client()
      assert.deepEqual(await names(again), [])
      const image = await again.images.pull(name)
      assert.equal((await again.snapshots().stat(await image.chainId())).kind, 'committed')
      assert.equal(registry.asked.at(-1), `${layer.digest} bytes=${half}-`)
    })
  })

  check('many pulls at once load and unpack an image once in each namespace', async () => {
    await withDaemon(async ({ registry, client }) => {
      const layer = registry.put(layerType, layerOf('file', 1_000_000))
      const name = registry.tag(registry.putImage([layer]), 'v1')
      const clients = await Promise.all([client('one'), client('two')])
      await Promise.all(
        Array.from({ length: 8 }, async (_, i) => await clients[i % 2]?.images.pull(name)),
      )
      assert.equal(registry.timesAsked(layer), 1)
      for (const each of clients) {
        const image = await each.images.get(name)
        const chainId = await image.chainId()
        assert.equal((await each.snapshots().stat(chainId)).kind, 'committed')
        assert.equal((await Array.fromAsync(each.snapshots().list())).length, 1)
      }
    })
  })

  check('a pull that is given up ends, and names nothing', async () => {
    await withDaemon(async ({ registry, client }) => {
      const layer = registry.put(layerType, layerOf('file', 1_000_000))
      const name = registry.tag(registry.putImage([layer]), 'v1')
      const asked = Promise.withResolvers<void>()
      const ended = Promise.withResolvers<void>()
      registry.meddle = (digest, response) => {
        if (digest !== layer.digest) return false
        response.on('close', () => ended.resolve())
        asked.resolve()
        return true
      }
      const giveUp = new AbortController()
      const own = await client()
      const pull = own.images.pull(name, { signal: giveUp.signal })
      await Promise.all([
        assert.rejects(pull),
        (async () => {
          await asked.promise
          giveUp.abort()
        })(),
      ])
      await ended.promise
      assert.deepEqual(await names(own), [])
      registry.meddle = () => false
      await own.images.pull(name)
      assert.deepEqual(await names(own), [name])
    })
  })

  for (const [how, ends] of [
    ['fails', (response: ServerResponse) => void response.destroy()],
    ['is given up', () => undefined],
  ] as const) {
    check(`a pull that ${how} leaves no lease, and the next one goes on where it was`, async () => {
      await withDaemon(async ({ daemon, registry, client }) => {
        const small = registry.put(layerType, layerOf('small', 1000))
        const large = registry.put(layerType, layerOf('large', 2_000_000))
        const name = registry.tag(registry.putImage([small, large]), 'v1')
        const half = large.size / 2
        registry.meddle = (digest, response, range) => {
          if (digest !== large.digest) return false
          if (range !== undefined) response.writeHead(403).end()
          else {
            response.writeHead(200, { 'content-length': large.size })
            response.write(registry.bytesOf(large).subarray(0, half), () => ends(response))
          }
          return true
        }
        const own = await client()
        const leases = new RemoteLeaseManager(own.connection)
        const giveUp = new AbortController()
        const failed = assert.rejects(own.images.pull(name, { signal: giveUp.signal }))
        await eventually(async () => (await received(daemon)) >= half || undefined)
        if (how === 'is given up') giveUp.abort()
        await failed
        await eventually(async () => (await leases.list(own.context())).length === 0 || undefined)
        // The collector comes.
        const { id } = await leases.create(own.context(), { id: 'last', labels: {} })
        await leases.delete(own.context(), id, { synchronous: true })
        registry.meddle = () => false
        registry.asked.length = 0
        await own.images.pull(name)
        assert.ok(registry.asked.includes(`${large.digest} bytes=${half}-`), registry.asked.join())
        assert.deepEqual(await leases.list(own.context()), [])
      })
    })
  }

  check('content that is wrong gets no name and no snapshot', async () => {
    await withDaemon(async ({ registry, client }) => {
      const layer = registry.put(layerType, layerOf('file', 100_000))
      const other = registry.putImage([layerOf('other', 100_000)], hostPlatform)
      const name = registry.tag(registry.putImage([layer]), 'v1')
      registry.meddle = (digest, response) => {
        if (digest === layer.digest) response.end(Buffer.alloc(layer.size))
        return digest === layer.digest
      }
      const own = await client()
      await rejectsWith('failed_precondition', own.images.pull(name))
      assert.deepEqual(await names(own), [])
      assert.deepEqual(await Array.fromAsync(own.snapshots().list()), [])
      await own.images.pull(registry.tag(other, 'v2'))
    })
  })

  check('config_type and layer_types decide what is unpacked where', async () => {
    const type = (what: string): string => `application/vnd.example.${what}`
    const section = '[[plugins."io.containerd.transfer.v1.local".unpack_config]]'
    const config = `
[stream_processors.example]
accepts = ["${type('layer')}"]
returns = "${layerType}"
path = "/bin/cat"
${section}
platform = "${hostPlatformName}"
snapshotter = "overlayfs"
differ = "walking"
${section}
platform = "${hostPlatformName}"
snapshotter = "native"
differ = "walking"
config_type = "${type('config')}"
layer_types = ["${type('layer')}"]
`
    await withDaemon(
      async ({ registry, client }) => {
        const bytes = layerOf('file', 1000)
        const layer = registry.put(type('layer'), bytes)
        const rootfs = { type: 'layers', diff_ids: [layer.digest] }
        const { os, architecture } = hostPlatform
        const described = Buffer.from(JSON.stringify({ os, architecture, rootfs }))
        const other = registry.putJson('application/vnd.oci.image.manifest.v1+json', {
          config: registry.put(type('config'), described),
          layers: [layer, registry.put(type('notes'), Buffer.from('for people'))],
        })
        const usual = registry.tag(registry.putImage([layerOf('usual', 10)]), 'usual')
        const unusual = registry.tag(other, 'unusual')
        const own = await client()
        const there = async (): Promise<number[]> =>
          await Promise.all(
            ['overlayfs', 'native'].map(
              async (name) => (await Array.fromAsync(own.snapshots(name).list())).length,
            ),
          )
        // Each is no business of the other's place.
        await own.images.pull(usual, { snapshotter: 'native' })
        await own.images.pull(unusual, { snapshotter: 'overlayfs' })
        assert.deepEqual(await there(), [0, 0])
        await own.images.pull(usual, { snapshotter: 'overlayfs' })
        await own.images.pull(unusual, { snapshotter: 'native' })
        assert.deepEqual(await there(), [1, 1])
        assert.equal((await own.snapshots('native').stat(layer.digest)).kind, 'committed')
      },
      { config },
    )
  })

  check('a layer that is no archive is named, with its image and what to do', async () => {
    await withDaemon(async ({ registry, client }) => {
      const layer = registry.put(layerType, Buffer.alloc(10_000, 'no archive'))
      const name = registry.tag(registry.putImage([layerOf('good', 100), layer]), 'v1')
      const own = await client()
      const told =
        /unpack layer (sha256:[0-9a-f]{64}) of "(127[^"]+)": .*archive\/tar: invalid tar header; .*have the image built and pushed anew/
      const failed = await own.images.pull(name).then(
        () => '',
        (err: Error) => err.message,
      )
      const [, digest, image] = told.exec(failed) ?? []
      assert.deepEqual([digest, image], [layer.digest, name], failed)
      const other = registry.put(layerType, layerOf('other', 100))
      const image2 = registry.putImage([other])
      const wrong = { type: 'layers', diff_ids: [layer.digest] }
      const config = registry.put(
        'application/vnd.oci.image.config.v1+json',
        Buffer.from(
          JSON.stringify({ os: 'linux', architecture: hostPlatform.architecture, rootfs: wrong }),
        ),
      )
      const lying = registry.putJson(image2.mediaType, { config, layers: [other] })
      const message =
        /unpack layer sha256:.* of "127.*": wrong diff id calculated on extraction "sha256:.*", and its config says sha256/
      const pulled = own.images.pull(registry.tag(lying, 'v2'))
      await rejectsWith('failed_precondition', pulled, message)
    })
  })

  check('layers that a remote snapshotter gets itself are never loaded', async (t) => {
    const ctx = newContext(t)
    await using dir = await mkdtempDisposable(join(tmpdir(), 'remote-'))
    const overlay = { asyncRemove: false, upperdirLabel: false, mountOptions: [] }
    await using local = await OverlaySnapshotter.open(ctx, join(dir.path, 'overlay'), overlay)
    const seen: Readonly<Record<string, string>>[] = []
    const remote: Snapshotter = overriding(local, {
      async prepare(own, key, parent, options) {
        const mounts = await local.prepare(own, key, parent, options)
        const target = options?.labels?.['containerd.io/snapshot.ref']
        if (target === undefined) return mounts
        seen.push(options?.labels ?? {})
        await local.commit(own, `remote-${seen.length}`, key, options)
        throw alreadyExists(`snapshot ${target}`)
      },
    })
    const path = join(dir.path, 's.sock')
    await using _server = await listenGrpc<RpcContext>(
      { path },
      {
        services: [snapshotsApi(new Map([['remote', remote]]))],
        context: (call) => contextOf(call, ctx.log),
        stopMs: 1000,
      },
    )
    const config = `
[proxy_plugins.remote]
type = "snapshot"
address = "${path}"
[proxy_plugins.remote.exports]
enable_remote_snapshot_annotations = "true"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
platform = "${hostPlatformName}"
snapshotter = "remote"
differ = "walking"
`
    await withDaemon(
      async ({ registry, client }) => {
        const layers = ['a', 'b'].map((name) => registry.put(layerType, layerOf(name, 1000)))
        const target = registry.putImage(layers)
        const name = registry.tag(target, 'v1')
        const own = await client()
        const image = await own.images.pull(name, { snapshotter: 'remote' })
        const info = await own.snapshots('remote').stat(await image.chainId())
        assert.equal(info.kind, 'committed')
        assert.deepEqual(
          layers.map((layer) => registry.timesAsked(layer)),
          [0, 0],
        )
        const digests = layers.map(({ digest }) => digest)
        assert.deepEqual(
          seen.map((labels) => [
            labels['containerd.io/snapshot/cri.image-ref'],
            labels['containerd.io/snapshot/cri.manifest-digest'],
            labels['containerd.io/snapshot/cri.layer-digest'],
            labels['containerd.io/snapshot/cri.image-layers'],
          ]),
          [
            [name, target.digest, digests[0], digests.join(',')],
            [name, target.digest, digests[1], digests[1]],
          ],
        )
      },
      { config },
    )
  })
})
