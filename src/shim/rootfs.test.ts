import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, open, openSync } from 'node:fs'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { promisify } from 'node:util'

import { describe, hasCode } from '#lib/errors/errors.ts'
import { mountInfo } from '#sys/mount-info.ts'
import { type Mount, mountAll, unmountRecursive } from '#sys/mount.ts'
import { root } from '#testing/root.ts'

import { HostLog } from './log.ts'
import { RootfsMounts } from './rootfs.ts'

const openFile = promisify(open)
const ever = new AbortController().signal

const check = (title: string, body: (scratch: Scratch) => Promise<void>): void => {
  test(title, { timeout: 60_000 }, async (t: TestContext) => {
    if (!root(t)) return
    await using scratch = new Scratch()
    await body(scratch)
  })
}

/** A tmpfs with the directories of an overlay, and Node's pool under control. */
class Scratch implements AsyncDisposable {
  readonly path = mkdtempSync(join(tmpdir(), 'wharf-rootfs-'))
  readonly rootfs = new RootfsMounts(new HostLog(false))
  readonly #blocked: Promise<number>[] = []

  constructor() {
    mountAll([{ type: 'tmpfs', source: 'tmpfs', options: ['size=16m'] }], this.path)
    for (const name of ['lower', 'upper', 'work']) mkdirSync(join(this.path, name))
    execFileSync('mkfifo', [join(this.path, 'fifo')])
  }

  get overlay(): readonly Mount[] {
    const [lower, upper, work] = ['lower', 'upper', 'work'].map((name) => join(this.path, name))
    const options = ['index=off', `lowerdir=${lower}`, `upperdir=${upper}`, `workdir=${work}`]
    return [{ type: 'overlay', source: 'overlay', options }]
  }

  /** Where something is mounted in `bundle` and below. */
  mounted(bundle: string): readonly string[] {
    const points = mountInfo().map(({ mountPoint }) => mountPoint)
    return points.filter((point) => point.startsWith(`${bundle}/`))
  }

  /** From now on no thread of the pool does anything, until `unblock`. */
  block(): void {
    const threads = Number(process.env['UV_THREADPOOL_SIZE'] ?? 4)
    for (let n = 0; n < threads; n++) this.#blocked.push(openFile(join(this.path, 'fifo'), 'r'))
  }

  async unblock(): Promise<void> {
    const writer = openSync(join(this.path, 'fifo'), 'r+')
    for (const opening of this.#blocked.splice(0)) closeSync(await opening)
    closeSync(writer)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.unblock()
    await this.rootfs[Symbol.asyncDispose]()
    unmountRecursive(this.path)
    rmSync(this.path, { recursive: true })
  }
}

check('a released rootfs is out of sight before its end', async (scratch) => {
  const bundle = join(scratch.path, 'bundle')
  const rootfs = await scratch.rootfs.mount('one', bundle, scratch.overlay, ever)
  const inner = join(bundle, 'rootfs/inner')
  mkdirSync(inner)
  mountAll([{ type: 'tmpfs', source: 'tmpfs', options: [] }], inner)
  mountAll([{ type: 'tmpfs', source: 'tmpfs', options: [] }], inner)
  scratch.block()
  rootfs.release()
  assert.deepEqual(scratch.mounted(bundle), [])
  rmSync(bundle, { recursive: true })
})

check(
  'an overlay that is written to again waits for the end of the one before',
  async (scratch) => {
    const first = await scratch.rootfs.mount(
      'one',
      join(scratch.path, 'first'),
      scratch.overlay,
      ever,
    )
    writeFileSync(join(scratch.path, 'first/rootfs/kept'), 'x')
    scratch.block()
    first.release()
    const second = join(scratch.path, 'second')
    const mounting = scratch.rootfs.mount('two', second, scratch.overlay, ever)
    for (let turns = 0; turns < 20; turns++) await turn()
    assert.deepEqual(scratch.mounted(second), [])
    await scratch.unblock()
    const again = await mounting
    assert.equal(readFileSync(join(second, 'rootfs/kept'), 'utf8'), 'x')
    again.release()
  },
)

check('one that writes elsewhere waits for nothing', async (scratch) => {
  const first = await scratch.rootfs.mount(
    'one',
    join(scratch.path, 'first'),
    scratch.overlay,
    ever,
  )
  scratch.block()
  first.release()
  const source = join(scratch.path, 'lower')
  const bind = [{ type: 'bind', source, options: ['rbind', 'ro'] }]
  const other = await scratch.rootfs.mount('two', join(scratch.path, 'other'), bind, ever)
  other.release()
})

check('the end of a host waits for that of its root file systems', async (scratch) => {
  const rootfs = await scratch.rootfs.mount('one', join(scratch.path, 'one'), scratch.overlay, ever)
  scratch.block()
  rootfs.release()
  const steps: string[] = []
  const ended = scratch.rootfs[Symbol.asyncDispose]().then(() => steps.push('ended'))
  for (let turns = 0; turns < 20; turns++) await turn()
  steps.push('let go')
  await scratch.unblock()
  await ended
  assert.deepEqual(steps, ['let go', 'ended'])
})

check('a mount that fails leaves nothing behind, and says so', async (scratch) => {
  const bundle = join(scratch.path, 'bundle')
  const mounts = [...scratch.overlay, { type: 'bind', source: '/no/such', options: ['bind'] }]
  await assert.rejects(scratch.rootfs.mount('one', bundle, mounts, ever), {
    message: 'failed to mount rootfs component',
  })
  assert.deepEqual(scratch.mounted(bundle), [])
})

check(
  'an overlay that does not end keeps the next one waiting no longer than said',
  async (scratch) => {
    const first = await scratch.rootfs.mount(
      'one',
      join(scratch.path, 'first'),
      scratch.overlay,
      ever,
    )
    scratch.block()
    first.release()
    const second = join(scratch.path, 'second')
    const late = AbortSignal.abort(new Error('late'))
    await assert.rejects(scratch.rootfs.mount('two', second, scratch.overlay, late), (err) => {
      assert.match(describe(err), /the overlay that wrote to .*upper before has not ended in time/)
      return hasCode(err, 'deadline_exceeded')
    })
  },
)
