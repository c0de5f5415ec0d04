import assert from 'node:assert/strict'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Task } from '#core/runtime/runtime.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'
import { mount, unmount } from '#sys/mount.ts'
import { mkfifo } from '#sys/node.ts'

import { type Bench, assertNothingLeft, processesWith, processOf, until } from './runtime-bench.ts'
import { type Check, checkWith } from './runtime-shims.ts'

const options = { builtinShim: true, runtime: 'io.containerd.runc.v2', hangs: true }
const nowhere = { stdin: '', stdout: '', stderr: '', terminal: false }
/** Long enough to hang visibly, ms. */
const shortMs = 2_500

const check: Check = (title, body) =>
  checkWith(options)(title, async (bench) => {
    try {
      await body(bench)
    } finally {
      bench.hang()
    }
  })

/** Runs `body` while the OCI runtime hangs in `command`, and the stage of the daemon is short. */
async function whileHanging<T>(
  bench: Bench,
  [command, stage]: readonly [string, string],
  body: () => Promise<T>,
): Promise<T> {
  const name = `io.wharf.timeout.task.${stage}`
  bench.hang(command)
  bench.timeouts.set(name, shortMs)
  try {
    return await body()
  } finally {
    bench.hang()
    bench.timeouts.delete(name)
  }
}

async function fails(work: Promise<unknown>, says: RegExp): Promise<void> {
  await assert.rejects(work, (err) => {
    assert.match(describe(err), says)
    assert.ok(hasCode(err, 'deadline_exceeded'), describe(err))
    return true
  })
}

async function started(bench: Bench, id: string): Promise<Task> {
  const task = await bench.create(id, ['sleep', '1000'])
  await task.start(bench.ctx)
  return task
}

/** Kills, waits for and deletes a task; leaves nothing. */
async function end(bench: Bench, id: string): Promise<void> {
  const { ctx, manager } = bench
  const task = await manager.get(ctx, id)
  await task.kill(ctx, { signal: 9 })
  await task.wait(ctx)
  await manager.delete(ctx, id)
  await assertNothingLeft(bench, id)
}

void suite('an OCI runtime that hangs', () => {
  check('in a creation is given up, named, and leaves nothing', async (bench) => {
    const work = whileHanging(bench, ['create', 'create'], () => bench.create('a', ['true']))
    await fails(work, /failed to create shim task: OCI runtime create failed: .*has not ended/)
    await assertNothingLeft(bench, 'a')
    await started(bench, 'a')
    await end(bench, 'a')
  })

  check('in a start is given up, and the container can be deleted', async (bench) => {
    const { ctx, manager } = bench
    const task = await bench.create('a', ['sleep', '1000'])
    await fails(
      whileHanging(bench, ['start', 'start'], () => task.start(ctx)),
      /OCI runtime start failed: .*has not ended/,
    )
    await manager.delete(ctx, 'a')
    await assertNothingLeft(bench, 'a')
  })

  check('in an exec is given up, and another exec runs', async (bench) => {
    const { ctx } = bench
    const task = await started(bench, 'a')
    const exec = { spec: processOf(['true']), ...nowhere }
    await task.exec(ctx, 'one', exec)
    await fails(
      whileHanging(bench, ['exec', 'exec'], () => task.start(ctx, 'one')),
      /OCI runtime exec failed: .*has not ended/,
    )
    assert.equal((await task.deleteExec(ctx, 'one')).status, 255)
    await task.exec(ctx, 'one', exec)
    await task.start(ctx, 'one')
    assert.equal((await task.wait(ctx, 'one')).status, 0)
    await end(bench, 'a')
  })

  check('in a kill keeps nobody alive', async (bench) => {
    const { ctx, manager } = bench
    const task = await started(bench, 'a')
    await whileHanging(bench, ['kill', 'kill'], () => task.kill(ctx, { signal: 9 }))
    assert.equal((await task.wait(ctx)).status, 137)
    await manager.delete(ctx, 'a')
    await assertNothingLeft(bench, 'a')
  })

  check('in a delete is done without, also for one that never started', async (bench) => {
    const { ctx, manager } = bench
    await bench.create('new', ['true'])
    const task = await started(bench, 'old')
    await task.kill(ctx, { signal: 9 })
    await task.wait(ctx)
    for (const id of ['old', 'new']) {
      await whileHanging(bench, ['delete', 'delete'], () => manager.delete(ctx, id))
      await assertNothingLeft(bench, id)
    }
  })

  check('while the shim is lost, too, leaves nothing', async (bench) => {
    const { ctx } = bench
    const task = await started(bench, 'a')
    bench.hang('delete')
    const shims = processesWith('containerd-shim', bench.dir)
    await bench.reopen(() => {
      for (const pid of [...shims, task.pid]) process.kill(pid, 'SIGKILL')
    })
    await assert.rejects(bench.manager.get(ctx, 'a'), (err) => hasCode(err, 'not_found'))
    await assertNothingLeft(bench, 'a')
    await until('its end is told', () => bench.topics('a').includes('/tasks/delete'))
    assert.deepEqual(bench.topics('a').slice(-2), ['/tasks/exit', '/tasks/delete'])
  })

  check('is not waited for by a client that leaves', async (bench) => {
    const leave = new AbortController()
    const own: Context = { ...bench.ctx, signal: leave.signal }
    bench.hang('create')
    const creating = bench.create('a', ['true'], {}, own)
    await until('the runtime hangs', () => processesWith('hanging-runc', bench.dir).length > 0)
    leave.abort(new Error('left'))
    await assert.rejects(creating, /failed to create shim task/)
    await assertNothingLeft(bench, 'a')
    bench.hang()
    await started(bench, 'a')
    await end(bench, 'a')
  })
})

void suite('a shim that is stopped', () => {
  check('is named by what waited for it, and can be asked again', async (bench) => {
    const { ctx } = bench
    const task = await started(bench, 'a')
    const [host = 0] = processesWith('containerd-shim', bench.dir)
    process.kill(host, 'SIGSTOP')
    try {
      const work = whileHanging(bench, ['', 'kill'], () => task.kill(ctx, { signal: 15 }))
      await fails(work, /task a: kill: the shim at unix:.* has said nothing for 2.5 s/)
    } finally {
      process.kill(host, 'SIGCONT')
    }
    await end(bench, 'a')
  })
})

void suite('a file system that nobody answers for', () => {
  check('holds up no other container, and is named by who waited for it', async (bench) => {
    const { ctx, manager } = bench
    await started(bench, 'old')
    using stuck = silentFuse(join(bench.dir, 'stuck'))
    const source = join(stuck.path, 'image')
    const rootfs = [{ type: 'bind', source, options: ['rbind', 'rw'] }]
    bench.timeouts.set('io.wharf.timeout.task.create', 6 * shortMs)
    // More than the host has threads for.
    const ids = ['a', 'b', 'c', 'd', 'e', 'f']
    const creating = ids.map(async (id) => await bench.create(id, ['true'], { rootfs }))
    const ended = Promise.allSettled(creating)
    await until(
      'all of them wait',
      () => processesWith('containerd-shim', 'mount').length >= ids.length,
    )
    bench.timeouts.delete('io.wharf.timeout.task.create')
    await started(bench, 'new')
    await end(bench, 'new')
    await end(bench, 'old')
    for (const [n, { status }] of (await ended).entries()) {
      assert.equal(status, 'rejected')
      await fails(
        creating[n] ?? Promise.resolve(),
        /failed to mount rootfs component: mount .*stuck\/image at .* has not answered in time/,
      )
    }
    for (const id of ids) await assertNothingLeft(bench, id)
    stuck[Symbol.dispose]()
    await started(bench, 'a')
    await end(bench, 'a')
    assert.equal((await manager.list(ctx)).length, 0)
  })
})

/** A file system in user space whose program never says a word. */
function silentFuse(path: string): Disposable & { readonly path: string } {
  mkdirSync(path)
  using scope = new DisposableStack()
  const fd = openSync('/dev/fuse', 'r+')
  scope.defer(() => closeSync(fd))
  const data = `fd=${fd},rootmode=40000,user_id=0,group_id=0`
  mount({ type: 'fuse', source: 'stuck', target: path, data })
  scope.defer(() => unmount(path, { detach: true }))
  const held = scope.move()
  return { path, [Symbol.dispose]: () => held.dispose() }
}

void suite('streams that nobody reads', () => {
  check('hold up neither a creation nor a delete', async (bench) => {
    const { ctx, manager } = bench
    const stdout = join(bench.dir, 'out')
    mkfifo(stdout, 0o600)
    const args = ['sh', '-c', 'while true; do echo much to say; done']
    const task = await bench.create('a', args, { stdout, stderr: stdout })
    await task.start(ctx)
    await until('the FIFO is full', () => isWaiting(task.pid))
    await end(bench, 'a')
    assert.equal((await manager.list(ctx)).length, 0)
  })
})

/** Whether a process sleeps in a write. */
function isWaiting(pid: number): boolean {
  const [call] = readFileSync(`/proc/${pid}/syscall`, 'utf8').split(' ')
  return call === '1'
}
