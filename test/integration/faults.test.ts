import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { describe } from '#lib/errors/errors.ts'
import { isErrno } from '#sys/errno.ts'
import { unmountRecursive } from '#sys/mount.ts'
import { root } from '#testing/root.ts'

import {
  type Bench,
  assertNothingLeft,
  openBench,
  processesWith,
  processOf,
  until,
} from './runtime-bench.ts'

const options = { builtinShim: true, runtime: 'io.containerd.runc.v2', hangs: true }
const nowhere = { stdin: '', stdout: '', stderr: '', terminal: false }

const check = (title: string, body: (bench: Bench) => Promise<void>): void => {
  void test(title, { timeout: 120_000 }, async (t) => {
    if (!root(t)) return
    await using bench = await openBench(options)
    bench.starve()
    try {
      await body(bench)
    } catch (err) {
      t.diagnostic(bench.logs.join('\n'))
      throw err
    } finally {
      bench.starve()
    }
  })
}

const fails = async (work: Promise<unknown>, says: RegExp): Promise<void> =>
  await assert.rejects(work, (err) => {
    assert.match(describe(err), says)
    return true
  })

/** Starts a container, kills, waits for and deletes it; leaves nothing. */
async function liveOnce(bench: Bench, id: string): Promise<void> {
  const task = await bench.create(id, ['sleep', '1000'])
  await task.start(bench.ctx)
  await end(bench, id)
}

async function end({ ctx, manager, ...bench }: Bench, id: string): Promise<void> {
  const task = await manager.get(ctx, id)
  await task.kill(ctx, { signal: 9 })
  await task.wait(ctx)
  await manager.delete(ctx, id)
  await assertNothingLeft({ ctx, manager, ...bench }, id)
}

void suite('an OCI runtime without memory', () => {
  check('in a creation is told of, and leaves nothing', async (bench) => {
    bench.starve('create')
    const creating = bench.create('a', ['true'])
    await fails(creating, /failed to create shim task: OCI runtime create failed: /)
    await assertNothingLeft(bench, 'a')
    bench.starve()
    await liveOnce(bench, 'a')
  })

  check(
    'in a start, an exec, a kill or a delete is told of, and each can be repeated',
    async (bench) => {
      const { ctx, manager } = bench
      const task = await bench.create('a', ['sleep', '1000'])
      bench.starve('start')
      await fails(task.start(ctx), /OCI runtime start failed: /)
      bench.starve()
      await task.start(ctx)

      const exec = { spec: processOf(['true']), ...nowhere }
      await task.exec(ctx, 'one', exec)
      bench.starve('exec')
      await fails(task.start(ctx, 'one'), /OCI runtime exec failed: /)
      assert.equal((await task.deleteExec(ctx, 'one')).status, 255)
      bench.starve()
      await task.exec(ctx, 'two', exec)
      await task.start(ctx, 'two')
      assert.equal((await task.wait(ctx, 'two')).status, 0)

      bench.starve('kill')
      await assert.rejects(task.kill(ctx, { signal: 9 }))
      bench.starve()
      await task.kill(ctx, { signal: 9 })
      assert.equal((await task.wait(ctx)).status, 137)
      bench.starve('delete')
      await fails(manager.delete(ctx, 'a'), /failed to delete task/)
      bench.starve()
      await manager.delete(ctx, 'a')
      await assertNothingLeft(bench, 'a')
    },
  )
})

void suite('a state directory that is full', () => {
  check('refuses new containers, and lets those go that are there', async (bench) => {
    const { ctx, manager } = bench
    using disk = smallDisk(join(bench.dir, 'state'))
    const task = await bench.create('old', ['sleep', '1000'])
    await task.start(ctx)
    disk.fill()
    await fails(bench.create('new', ['true']), /ENOSPC|no space left/)
    await assertNothingLeft(bench, 'new')
    // Nothing about it can be written down.
    const exec = { spec: processOf(['true']), ...nowhere }
    await task.exec(ctx, 'one', exec)
    await fails(task.start(ctx, 'one'), /ENOSPC|no space left/)
    assert.equal((await task.deleteExec(ctx, 'one')).status, 255)
    await end(bench, 'old')

    disk.free()
    await liveOnce(bench, 'new')
    assert.equal((await manager.list(ctx)).length, 0)
  })
})

void suite('a disk of root and state that is full', () => {
  const steps = ['create', 'start', 'exec', 'kill', 'delete'] as const
  for (const full of steps) {
    check(
      `while a container is in its step ${full}, is told of, and the step repeated`,
      async (bench) => {
        const { ctx, manager } = bench
        using disk = wholeDisk(bench)
        const step = async (name: (typeof steps)[number], body: () => Promise<void>) => {
          if (name === full) disk.fill()
          const failed = await body().then(
            () => undefined,
            (err: unknown) => describe(err),
          )
          disk.free()
          if (failed === undefined) return
          assert.equal(name, full, failed)
          assert.match(failed, /(write|runtime|mount).*no space left on device/)
          assert.notEqual(name, 'delete', failed)
          await body()
        }
        await step('create', async () => void (await bench.create('a', ['sleep', '1000'])))
        const task = await manager.get(ctx, 'a')
        await step('start', async () => void (await task.start(ctx)))
        let execs = 0
        await step('exec', async () => {
          const id = `x${(execs += 1)}`
          await task.exec(ctx, id, { spec: processOf(['true']), ...nowhere })
          await task.start(ctx, id)
          assert.equal((await task.wait(ctx, id)).status, 0)
        })
        await step('kill', async () => {
          await task.kill(ctx, { signal: 9 })
          assert.equal((await task.wait(ctx)).status, 137)
        })
        await step('delete', async () => void (await manager.delete(ctx, 'a')))
        await assertNothingLeft(bench, 'a')
        await liveOnce(bench, 'a')
      },
    )
  }

  check('loses no container whose host is killed meanwhile', async (bench) => {
    const { ctx, manager } = bench
    using disk = wholeDisk(bench)
    const task = await bench.create('a', ['sleep', '1000'])
    await task.start(ctx)
    disk.fill()
    for (const pid of processesWith('containerd-shim', bench.dir, 'serve')) {
      process.kill(pid, 'SIGKILL')
    }
    await until('the container is adopted', async () => {
      const found = await manager.get(ctx, 'a')
      return await found.state(ctx).then(
        ({ status }) => status === 'running',
        () => false,
      )
    })
    await end(bench, 'a')
    disk.free()
    await liveOnce(bench, 'a')
  })
})

/** A disk of its own for all that daemon, shim and OCI runtime keep. */
function wholeDisk({ dir }: Bench): ReturnType<typeof smallDisk> {
  const [image, place] = [join(dir, 'disk.img'), join(dir, 'disk')]
  execFileSync('truncate', ['-s', '16m', image])
  execFileSync('mkfs.ext4', ['-q', '-m', '0', image])
  mkdirSync(place)
  execFileSync('mount', ['-o', 'loop', image, place])
  const names = ['root', 'state', 'runc']
  for (const name of names) {
    for (const path of [join(place, name), join(dir, name)]) mkdirSync(path, { recursive: true })
    execFileSync('mount', ['--bind', join(place, name), join(dir, name)])
  }
  return ballastOn(place, () => {
    for (const name of [...names, 'disk']) unmountRecursive(join(dir, name), { detach: true })
  })
}

/** A small file system at `path`, which can be filled to the last block. */
function smallDisk(path: string): Disposable & { fill(): void; free(): void } {
  execFileSync('mkdir', ['-p', path])
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', path])
  // The host may still be letting go of what it used last.
  return ballastOn(path, () => unmountRecursive(path, { detach: true }))
}

function ballastOn(path: string, unmount: () => void): Disposable & { fill(): void; free(): void } {
  const ballast = join(path, 'ballast')
  return {
    fill: () => fillUp(path, ballast),
    free: () => rmSync(ballast, { force: true }),
    [Symbol.dispose]: unmount,
  }
}

/** Until not even a byte fits. */
function fillUp(path: string, ballast: string): void {
  const fd = openSync(ballast, 'a')
  try {
    for (let size = 1 << 20; size >= 1; ) {
      const { bavail, bsize } = statfsSync(path)
      try {
        writeSync(fd, Buffer.alloc(Math.max(1, Math.min(size, bavail * bsize))))
      } catch (err) {
        if (!isErrno(err, 'ENOSPC')) throw err
        size >>= 1
      }
    }
  } finally {
    closeSync(fd)
  }
}
