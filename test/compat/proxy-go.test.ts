import assert from 'node:assert/strict'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import { listenGrpc } from '#lib/grpc/server.ts'
import type { Call } from '#lib/rpc/rpc.ts'
import { LocalStore } from '#plugins/content/local/local-store.ts'
import { contentApi } from '#plugins/services/content/grpc.ts'
import { snapshotsApi } from '#plugins/services/snapshots/grpc.ts'
import { OverlaySnapshotter } from '#plugins/snapshots/overlay/overlay.ts'
import type { RpcContext } from '#plugins/types.ts'
import { contextOf } from '#proxy/headers.ts'
import { type Containerd, everyContainerd } from '#testing/containerd.ts'
import { type DaemonOptions, run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'
import { newContext } from '#testing/context.ts'
import { root } from '#testing/root.ts'

const image = 'docker.io/library/busybox:latest'

/** Runs `ctr`, which must succeed, unless `fails` is what it has to complain. */
async function ctr(daemon: TestDaemon, go: Containerd, line: string, fails?: RegExp) {
  const args = ['--address', daemon.address, ...line.split(' ')]
  const { code, stdout, stderr } = await run(go.ctr, args)
  if (fails) assert.match(stderr, fails)
  else assert.equal(code, 0, `ctr ${line}: ${stderr}\n${await daemon.log()}`)
  return stdout
}

const proxy = (name: string, type: string, remote: { readonly address: string }): string => `
[proxy_plugins.${name}]
type = "${type}"
address = "${remote.address}"
exports = { hello = "world" }
capabilities = ["quick"]
`

/** An image, as a file. */
async function archived(): Promise<AsyncDisposable & { readonly path: string }> {
  const dir = await mkdtempDisposable(join(tmpdir(), 'proxy-image-'))
  const path = join(dir.path, 'image.tar')
  await writeImage(busyboxImage(image), path)
  return { path, [Symbol.asyncDispose]: async () => await dir[Symbol.asyncDispose]() }
}

/** Keeps a containerd from collecting what only another daemon knows. */
const keeping = `
[plugins."io.containerd.gc.v1.scheduler"]
startup_delay = "1h"
mutation_threshold = 1000000
`

/** A plugin for wharfd: a snapshotter whose name no containerd has. */
const renamed = `
import { definePlugin, own, SnapshotPlugin } from 'wharfd/plugin'
export const renamed = definePlugin({
  type: SnapshotPlugin,
  id: 'wharf',
  requires: { inner: own(SnapshotPlugin, 'overlayfs') },
  init: ({ deps }) => deps.inner,
})
`

interface Given {
  readonly remote: TestDaemon
  readonly local: TestDaemon
  readonly archive: string
}

/** A daemon, and one that has parts of it as its own. */
async function pair(
  t: TestContext,
  remote: DaemonOptions,
  local: (remote: TestDaemon, dir: string) => DaemonOptions,
  body: (given: Given) => Promise<void>,
): Promise<void> {
  if (!root(t)) return
  await using dir = await mkdtempDisposable(join(tmpdir(), 'proxy-'))
  await using archive = await archived()
  await writeFile(join(dir.path, 'renamed.mjs'), renamed)
  const options = remote.containerd ? remote : { ...remote, top: `plugin_dir = "${dir.path}"` }
  await using far = await startDaemon(options)
  await using near = await startDaemon(local(far, dir.path))
  await body({ remote: far, local: near, archive: archive.path })
}

for (const go of everyContainerd()) {
  suite(`proxy plugins and containerd ${go.version}`, () => {
    test('its snapshotter is ours, also after it was away', async (t) => {
      const local = (remote: TestDaemon) => ({ config: proxy('native', 'snapshot', remote) })
      await pair(
        t,
        { containerd: go, config: keeping },
        local,
        async ({ remote, local: wharf, archive }) => {
          await ctr(wharf, go, `${importLocal(go)} --snapshotter native ${archive}`)
          const hello = `run --rm --snapshotter native ${image}`
          assert.equal(await ctr(wharf, go, `${hello} one echo hello`), 'hello\n')
          assert.match(await ctr(remote, go, 'snapshots --snapshotter native ls'), /sha256:/)
          const listed = await ctr(wharf, go, 'plugins ls -d id==native')
          for (const word of ['hello', 'world', 'quick', remote.address]) {
            assert.ok(listed.includes(word), listed)
          }
          await remote.stop()
          await ctr(wharf, go, 'snapshots --snapshotter native ls', /unavailable|connection/i)
          await remote.start()
          await answering(t, wharf, go, 'snapshots --snapshotter native ls')
          assert.equal(await ctr(wharf, go, `${hello} two echo again`), 'again\n')
        },
      )
    })

    test('its content is ours', async (t) => {
      const local = (remote: TestDaemon) => ({ config: proxy('content', 'content', remote) })
      await pair(
        t,
        { containerd: go, config: keeping },
        local,
        async ({ remote, local: wharf, archive }) => {
          await ctr(wharf, go, `${importLocal(go)} ${archive}`)
          assert.equal(await ctr(wharf, go, `run --rm ${image} one echo hello`), 'hello\n')
          const ours = (await ctr(wharf, go, 'content ls -q')).trim().split('\n')
          const theirs = await ctr(remote, go, 'content ls -q')
          assert.equal(ours.length, 3)
          for (const digest of ours) assert.ok(theirs.includes(digest), digest)
        },
      )
    })

    test('a service that knows no namespaces is its snapshotter, and content', async (t) => {
      if (!root(t)) return
      await using parts = await serveParts(t)
      const options = {
        containerd: go,
        disabled: ['io.containerd.content.v1.content'],
        config: proxy('wharf', 'snapshot', parts) + proxy('blobs', 'content', parts),
      }
      await using theirs = await startDaemon(options)
      await using archive = await archived()
      await ctr(theirs, go, `${importLocal(go)} --snapshotter wharf ${archive.path}`)
      const hello = `run --rm --snapshotter wharf ${image}`
      assert.equal(await ctr(theirs, go, `${hello} one echo hello`), 'hello\n')
      await parts.stop()
      await ctr(theirs, go, 'snapshots --snapshotter wharf ls', /unavailable|connection/i)
      await parts.start()
      await answering(t, theirs, go, 'snapshots --snapshotter wharf ls')
      assert.equal(await ctr(theirs, go, `${hello} two echo again`), 'again\n')
    })

    // Debian's 1.6.20 tells proxies no namespace, and so cannot use any containerd as one.
    if (go.major < 2) return
    test('our snapshotter is its, also after we were away', async (t) => {
      const local = (remote: TestDaemon) => ({
        containerd: go,
        config: proxy('wharf', 'snapshot', remote),
      })
      await pair(
        t,
        { config: keeping },
        local,
        async ({ remote: wharf, local: theirs, archive }) => {
          await ctr(theirs, go, `${importLocal(go)} --snapshotter wharf ${archive}`)
          const hello = `run --rm --snapshotter wharf ${image}`
          assert.equal(await ctr(theirs, go, `${hello} one echo hello`), 'hello\n')
          assert.match(await ctr(wharf, go, 'snapshots --snapshotter wharf ls'), /sha256:/)
          await wharf.stop()
          await ctr(theirs, go, 'snapshots --snapshotter wharf ls', /unavailable|connection/i)
          await wharf.start()
          await answering(t, theirs, go, 'snapshots --snapshotter wharf ls')
          assert.equal(await ctr(theirs, go, `${hello} two echo again`), 'again\n')
        },
      )
    })

    test('our content is its', async (t) => {
      const local = (remote: TestDaemon) => ({
        containerd: go,
        disabled: ['io.containerd.content.v1.content'],
        config: proxy('wharf', 'content', remote),
      })
      await pair(
        t,
        { config: keeping },
        local,
        async ({ remote: wharf, local: theirs, archive }) => {
          await ctr(theirs, go, `images import ${archive}`)
          assert.equal(await ctr(theirs, go, `run --rm ${image} one echo hello`), 'hello\n')
          assert.match(await ctr(wharf, go, 'content ls -q'), /sha256:/)
        },
      )
    })
  })
}

/** Newer ones import through a service that knows the configured snapshotters alone. */
const importLocal = (go: Containerd): string =>
  go.major < 2 ? 'images import' : 'images import --local'

/** Our snapshotter and content without a daemon around them, as proxy plugins usually are. */
interface Parts extends AsyncDisposable {
  readonly address: string
  readonly start: () => Promise<void>
  readonly stop: () => Promise<void>
}

async function serveParts(t: TestContext): Promise<Parts> {
  await using scope = new AsyncDisposableStack()
  const dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'parts-')))
  const ctx = newContext(t)
  const overlay = scope.use(
    await OverlaySnapshotter.open(ctx, join(dir.path, 'snapshots'), {
      asyncRemove: true,
      upperdirLabel: false,
      mountOptions: [],
    }),
  )
  const content = scope.use(LocalStore.open(ctx, join(dir.path, 'content')))
  const services = [snapshotsApi(new Map([['wharf', overlay]])), contentApi(content)]
  const address = join(dir.path, 's.sock')
  let server: AsyncDisposable | undefined
  const parts: Parts = {
    address,
    async start() {
      const context = (call: Call) => contextOf(call, ctx.log)
      server = await listenGrpc<RpcContext>({ path: address }, { services, context, stopMs: 100 })
    },
    async stop() {
      await server?.[Symbol.asyncDispose]()
    },
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  }
  await parts.start()
  scope.defer(parts.stop)
  const owned = scope.move()
  return parts
}

/** Waits until `ctr` succeeds with `line`. */
async function answering(t: TestContext, daemon: TestDaemon, go: Containerd, line: string) {
  for (;;) {
    t.signal.throwIfAborted()
    const { code } = await run(go.ctr, ['--address', daemon.address, ...line.split(' ')])
    if (code === 0) return
  }
}
