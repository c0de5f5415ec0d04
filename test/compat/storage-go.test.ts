import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { readBlob } from '#core/content/read-blob.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { LocalStore } from '#plugins/content/local/local-store.ts'
import { NativeSnapshotter } from '#plugins/snapshots/native/native.ts'
import { OverlaySnapshotter } from '#plugins/snapshots/overlay/overlay.ts'
import { type Containerd, everyContainerd } from '#testing/containerd.ts'
import { newContext } from '#testing/context.ts'
import { root } from '#testing/root.ts'

/** A containerd of the test's own, with its files in `dir`. */
interface Go extends AsyncDisposable {
  /** Runs `ctr` against it. */
  readonly ctr: (args: readonly string[], stdin?: string) => Promise<string>
  /** Starts `ctr content ingest`, sends `part`, and leaves before the end. */
  readonly ingestPart: (ref: string, part: string) => Promise<void>
}

const startTimeout = 20_000

async function startGo(
  t: TestContext,
  go: Containerd,
  dir: string,
  collectAfter: '100ms' | '1h' = '100ms',
): Promise<Go> {
  const socket = join(dir, 'containerd.sock')
  const config = join(dir, 'config.toml')
  const disabled = ['io.containerd.grpc.v1.cri', 'io.containerd.nri.v1.nri']
  const gc = `[plugins."io.containerd.gc.v1.scheduler"]\nstartup_delay = "${collectAfter}"`
  const text = `version = 2\ndisabled_plugins = ${JSON.stringify(disabled)}\n${gc}\n`
  fs.writeFileSync(config, text)
  const args = ['--config', config, '--address', socket]
  const daemon = spawn(
    go.containerd,
    [...args, '--root', join(dir, 'root'), '--state', join(dir, 'state')],
    { stdio: 'ignore' },
  )
  const ended = once(daemon, 'exit')
  await using undo = new AsyncDisposableStack()
  undo.defer(async () => {
    daemon.kill()
    await ended
  })
  const address = ['--address', socket]
  const ctr = async (command: readonly string[], stdin = ''): Promise<string> =>
    await new Promise((resolve, reject) => {
      const child = execFile(go.ctr, [...address, ...command], (err, stdout, stderr) => {
        if (err) reject(new Error(`${command.join(' ')}: ${stderr}`, { cause: err }))
        else resolve(stdout)
      })
      child.stdin?.end(stdin)
    })
  await until(t, async () => await ctr(['version']).then(Boolean, () => false))
  const ingestPart = async (ref: string, part: string): Promise<void> => {
    const child = spawn(go.ctr, [...address, 'content', 'ingest', ref], {
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    child.stdin.write(part)
    await until(t, async () => (await ctr(['content', 'active'])).includes(ref))
    child.kill()
    await once(child, 'exit')
  }
  const held = undo.move()
  return { ctr, ingestPart, [Symbol.asyncDispose]: async () => await held.disposeAsync() }
}

async function until(t: TestContext, done: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = AbortSignal.any([t.signal, AbortSignal.timeout(startTimeout)])
  while (!(await done())) await sleep(20, undefined, { signal: deadline })
}

const snapshotters = {
  overlayfs: async (t: TestContext, path: string) =>
    await OverlaySnapshotter.open(newContext(t), path, {
      asyncRemove: true,
      upperdirLabel: false,
      mountOptions: [],
    }),
  native: async (t: TestContext, path: string) => await NativeSnapshotter.open(newContext(t), path),
} as const

for (const go of everyContainerd()) {
  suite(`files of containerd ${go.version}`, () => {
    for (const [name, open] of Object.entries(snapshotters)) {
      test(`its ${name} snapshots are ours, and ours are its`, async (t) => {
        if (!root(t)) return
        await using dir = await mkdtempDisposable(join(tmpdir(), 'storage-go-'))
        const path = join(dir.path, 'root', `io.containerd.snapshotter.v1.${name}`)
        const ctx = newContext(t)
        const snapshots = ['snapshots', '--snapshotter', name]
        let mounts = ''
        {
          await using theirs = await startGo(t, go, dir.path, '1h')
          await theirs.ctr([...snapshots, 'prepare', 'work'])
          await theirs.ctr([...snapshots, 'commit', 'base', 'work'])
          await theirs.ctr([...snapshots, 'prepare', 'next', 'base'])
          await theirs.ctr([...snapshots, 'view', 'look', 'base'])
          for (const key of ['base', 'next']) {
            await theirs.ctr([...snapshots, 'label', key, 'containerd.io/gc.root=yes'])
          }
          mounts = await theirs.ctr([...snapshots, 'mounts', '/mnt', 'next'])
        }
        {
          await using sn = await open(t, path)
          const found = await Array.fromAsync(sn.list(ctx))
          const shown = found.map(({ name: key, kind }) => `${key.replace(/^.*\//, '')} ${kind}`)
          assert.deepEqual(shown.toSorted(), ['base committed', 'look view', 'next active'])
          const base = found.find((info) => info.kind === 'committed')?.name ?? ''
          const next = found.find((info) => info.kind === 'active')
          assert.equal(next?.parent, base)
          assert.ok(Date.now() - next.createdAt.getTime() < 60_000)
          const usage = await sn.usage(ctx, base)
          assert.ok(usage.inodes > 0)
          const [mount] = await sn.mounts(ctx, next.name)
          assert.ok(mounts.includes(`-t ${mount?.type}`), mounts)
          for (const option of mount?.options ?? []) assert.ok(mounts.includes(option), option)
          await sn.prepare(ctx, 'ours', base, { labels: { a: 'b' } })
          await sn.commit(ctx, 'top', 'ours')
          await sn.prepare(ctx, 'above', 'top')
        }
        await using theirs = await startGo(t, go, dir.path)
        // Its collector finds ours in the database, and that no namespace has them.
        await until(t, () => fs.readdirSync(join(path, 'snapshots')).length === 2)
        assert.match(await theirs.ctr([...snapshots, 'usage', 'base']), /base/)
        await theirs.ctr([...snapshots, 'prepare', 'again', 'base'])
        await theirs.ctr([...snapshots, 'commit', 'again-top', 'again'])
      })
    }

    test('its blobs and uploads are ours', async (t) => {
      if (!root(t)) return
      await using dir = await mkdtempDisposable(join(tmpdir(), 'storage-go-'))
      const ctx = newContext(t)
      {
        await using theirs = await startGo(t, go, dir.path, '1h')
        await theirs.ctr(['content', 'ingest', 'whole'], 'hello')
        await theirs.ingestPart('part', 'half of ')
      }
      const store = LocalStore.open(ctx, join(dir.path, 'root/io.containerd.content.v1.content'))
      const digests = await Array.fromAsync(store.list(ctx), (info) => info.digest)
      assert.deepEqual(digests, [digestOf('hello')])
      const bytes = await readBlob(ctx, store, digestOf('hello'), 100)
      assert.equal(Buffer.from(bytes).toString(), 'hello')
      const [status] = await store.listStatuses(ctx)
      assert.match(status?.ref ?? '', /^default\/\d+\/part$/)
      await using writer = await store.writer(ctx, { ref: status?.ref ?? '' })
      const sent = 'half of '.slice(0, writer.status().offset)
      assert.equal(writer.digest(), digestOf(sent))
      await writer.write(ctx, Buffer.from('it'))
      await writer.commit(ctx, { expected: digestOf(`${sent}it`) })
    })
  })
}
