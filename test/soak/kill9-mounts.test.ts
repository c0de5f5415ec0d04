import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

import { type Context, silent } from '#core/context.ts'
import type { Mount } from '#core/mount/mount.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { missingForErofs } from '#plugins/snapshots/erofs/probe.ts'
import { RemoteDiffer } from '#proxy/diff.ts'
import { RemoteMountManager } from '#proxy/mounts.ts'
import { RemoteSnapshotter } from '#proxy/snapshots.ts'
import { mountInfo } from '#sys/mount-info.ts'
import { type TestDaemon, startDaemon } from '#testing/daemon.ts'
import { eventually } from '#testing/eventually.ts'
import { soak, soakMs } from '#testing/soak.ts'

const skip = (process.getuid?.() !== 0 && 'needs root') || (missingForErofs() ?? false)
const slice = 3
const workers = 4
/** A machine may be too busy for what a daemon is to do before it is killed. */
const longestMs = 10_000
const root = { labels: { 'containerd.io/gc.root': 'kept' } }
/** On an activation: the snapshot that keeps it from collections. */
const keeper = 'containerd.io/gc.bref.snapshot.erofs'
const ctx: Context = { signal: new AbortController().signal, log: silent, namespace: 'killed' }

/** What a daemon has mounted, anywhere. */
const mountsOf = ({ dir }: TestDaemon): string[] =>
  mountInfo().flatMap(({ mountPoint }) => (mountPoint.startsWith(`${dir}/`) ? [mountPoint] : []))

const entries = (path: string): string[] => (existsSync(path) ? readdirSync(path) : [])

/** The files in `dir` that are block devices. */
function loops({ dir }: TestDaemon): string[] {
  const text = execFileSync('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE'])
  return text
    .toString()
    .split('\n')
    .filter((line) => line.includes(dir))
}

/** A base of two layers, from which others are made. */
async function prepareBase(connection: Connection): Promise<void> {
  const sn = new RemoteSnapshotter(connection, 'erofs')
  await sn.prepare(ctx, 'one', '', root)
  await sn.commit(ctx, 'base-1', 'one', root)
  await sn.prepare(ctx, 'two', 'base-1', root)
  await sn.commit(ctx, 'base-2', 'two', root)
}

/** What is worked with, and the snapshots whose commit was acknowledged. */
interface Work {
  readonly daemon: TestDaemon
  readonly image: string
  readonly committed: string[]
}

/** Does, until the daemon goes, what it makes mounts for. */
async function work({ daemon, image, committed }: Work, connection: Connection, me: string) {
  const sn = new RemoteSnapshotter(connection, 'erofs')
  const differ = new RemoteDiffer(connection)
  const manager = new RemoteMountManager(connection)
  for (let n = 0; ; n++) {
    const key = `${me}-${n}`
    const upper = await sn.prepare(ctx, key, 'base-2', root)
    const lower = await sn.view(ctx, `${key}-view`, 'base-2', root)
    const layer = await differ.compare(ctx, lower, upper)
    await differ.apply(ctx, layer, upper)
    await manager.activate(ctx, `${key}-loop`, loopMounts(daemon, image, key), { temporary: true })
    if (n % 3 > 0) await deactivate(manager, `${key}-loop`)

    // Labels keep the activation from collections, while it is written to.
    const kept = { temporary: true, labels: { [keeper]: key } }
    const { system } = await manager.activate(ctx, key, upper, kept)
    writeFileSync(join(system[0]?.source ?? '', 'written'), key)
    await manager.deactivate(ctx, key)
    await sn.commit(ctx, `${key}-layer`, key, root)
    committed.push(`${key}-layer`)
  }
}

/** Whatever was acknowledged is there and whole. */
async function checkCommitted({ daemon, committed }: Work): Promise<void> {
  await using connection = await connectGrpc(daemon.address, { signal: ctx.signal })
  const sn = new RemoteSnapshotter(connection, 'erofs')
  const manager = new RemoteMountManager(connection)
  for (const name of committed.splice(0)) {
    const mounts = await sn.view(ctx, `look-${name}`, name, root)
    const kept = { temporary: true, labels: { [keeper]: name } }
    const { system } = await manager.activate(ctx, name, mounts, kept)
    const text = readFileSync(join(system[0]?.source ?? '', 'written'), 'utf8')
    assert.equal(`${text}-layer`, name)
    await manager.deactivate(ctx, name)
  }
}

/** Collections are at work, too. */
async function deactivate(manager: RemoteMountManager, name: string): Promise<void> {
  try {
    await manager.deactivate(ctx, name)
  } catch (err) {
    if (!hasCode(err, 'not_found')) throw err
  }
}

/** A file system in a file that is there, and one that is made, each through a device. */
const loopMounts = (daemon: TestDaemon, image: string, key: string): Mount[] => [
  { type: 'loop', source: image, options: ['ro'] },
  { type: 'format/erofs', source: '{{ mount 0 }}', options: ['ro'] },
  {
    type: 'mkfs/loop',
    source: join(daemon.root, 'files', `${key}.img`),
    options: ['X-containerd.mkfs.size=4MiB'],
  },
  { type: 'format/ext4', source: '{{ mount 2 }}', options: [] },
]

/** Only what is activated, and so can be deactivated, may be there. */
async function checkLeft(daemon: TestDaemon): Promise<void> {
  await using connection = await connectGrpc(daemon.address, { signal: ctx.signal })
  const manager = new RemoteMountManager(connection)
  const targets = join(daemon.state, 'io.containerd.mount-manager.v1.bolt', 't')
  assert.deepEqual(entries(join(daemon.root, 'tmpmounts')), [])
  // What nobody holds is taken by the first collection, and the kernel then takes the devices.
  await settled(async () => (await manager.list(ctx)).every(({ labels }) => keeper in labels))
  await deactivateKept(connection)
  assert.deepEqual(await manager.list(ctx), [])
  await settled(() => mountsOf(daemon).length === 0)
  await settled(() => entries(targets).length === 0)
  await settled(() => loops(daemon).length === 0)
}

/** Deactivates what was written to when the daemon was killed: its snapshot is there, and keeps it. */
async function deactivateKept(connection: Connection): Promise<void> {
  const sn = new RemoteSnapshotter(connection, 'erofs')
  const manager = new RemoteMountManager(connection)
  for (const { name, labels } of await manager.list(ctx)) {
    assert.equal((await sn.stat(ctx, labels[keeper] ?? '')).kind, 'active')
    await manager.deactivate(ctx, name)
  }
}

/** Waits until it is so. */
async function settled(is: () => boolean | Promise<boolean>): Promise<void> {
  await eventually(async () => ((await is()) ? true : undefined))
}

void suite('mounts of a daemon that is killed', { skip }, () => {
  for (const [where, size] of [
    ['directories', ''],
    ['files', '8MiB'],
  ] as const) {
    const title = `are gone after the next start, when snapshots are written in ${where}`
    void test(title, { timeout: soakMs(240_000) }, async () => {
      const config = `[plugins."io.containerd.snapshotter.v1.erofs"]\ndefault_size = "${size}"\n`
      await using daemon = await startDaemon({ config })
      const doing: Work = { daemon, image: await prepareFiles(daemon), committed: [] }
      {
        await using connection = await connectGrpc(daemon.address, { signal: ctx.signal })
        await prepareBase(connection)
      }
      const left = { mounts: 0, devices: 0 }
      await soak(`kill -9 amid mounts, ${where}`, slice, async ({ number, below, count }) => {
        await killAtWork(doing, { name: `r${number}`, commits: below(8), ms: below(300) })
        left.mounts += mountsOf(daemon).length
        left.devices += loops(daemon).length
        count('mounts left', mountsOf(daemon).length)
        count('devices left', loops(daemon).length)
        count('commits checked', doing.committed.length)
        await daemon.start()
        await checkCommitted(doing)
        await checkLeft(daemon)
      })
      assert.ok(left.mounts > 0 && left.devices > 0, 'no daemon was killed with a mount')
    })
  }
})

async function prepareFiles(daemon: TestDaemon): Promise<string> {
  const source = join(daemon.dir, 'source')
  mkdirSync(source)
  writeFileSync(join(source, 'file'), 'text')
  mkdirSync(join(daemon.root, 'files'))
  const image = join(daemon.dir, 'image.erofs')
  await promisify(execFile)('mkfs.erofs', ['--quiet', image, source])
  return image
}

async function killAtWork(
  doing: Work,
  { name, commits, ms }: { readonly name: string; readonly commits: number; readonly ms: number },
): Promise<void> {
  const { daemon, committed } = doing
  await using connection = await connectGrpc(daemon.address, { signal: ctx.signal })
  const working = Array.from({ length: workers }, (_, n) => work(doing, connection, `${name}-${n}`))
  const ends = Promise.allSettled(working)
  const latest = Date.now() + longestMs
  while (committed.length < commits && Date.now() < latest) await sleep(5)
  await sleep(ms)
  await daemon.stop('SIGKILL')
  for (const end of await ends) {
    if (end.status === 'rejected')
      assert.ok(hasCode(end.reason, 'unavailable'), describe(end.reason))
  }
}
