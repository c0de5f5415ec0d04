import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'

import { fromBinary } from '@bufbuild/protobuf'

import { TaskExitSchema } from '#gen/events/task_pb.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { until } from './runtime-bench.ts'
import { assertGone, isAlive, ownShims, suiteOfEachShim } from './runtime-shims.ts'

/* Shims that are lost, and daemons that come back. */

suiteOfEachShim('tasks that lose a shim or a daemon', (check, options) => {
  check('the loss of a shim ends its container, and everybody hears of it', async (bench) => {
    // What the built-in host had is gone on with by another one.
    if (options.builtinShim) return
    const { ctx, manager } = bench
    const task = await bench.create('a', ['sleep', '1000'])
    await task.start(ctx)
    const waiting = task.wait(ctx)
    await until('the start event', () => bench.topics('a').includes('/tasks/start'))
    const [shim] = ownShims(bench)
    assert.ok(shim)
    process.kill(shim, 'SIGKILL')
    const exit = await waiting
    assert.deepEqual([exit.pid, exit.status], [task.pid, 137])
    await until('the task is forgotten', async () => (await manager.list(ctx)).length === 0)
    assert.deepEqual(bench.topics('a').slice(-2), ['/tasks/exit', '/tasks/delete'])
    await until('the container has ended', () => !isAlive(task.pid))
    assertGone(bench, 'a')
  })

  check('a host that is killed takes no container with it', async (bench) => {
    if (!options.builtinShim) return
    const { ctx, manager } = bench
    const tasks = await Promise.all(
      Array.from({ length: 6 }, async (_, n) => {
        const task = await bench.create(`c${n}`, ['sleep', '1000'])
        await task.start(ctx)
        return task
      }),
    )
    const ids = tasks.map(({ id }) => id)
    const waiting = tasks.map((task) => task.wait(ctx))
    const isTold = (id: string): boolean => bench.topics(id).includes('/tasks/start')
    await until('all starts are told', () => ids.every(isTold))
    for (const pid of ownShims(bench)) process.kill(pid, 'SIGKILL')
    await until('another one has them', async () => {
      const found = await Promise.all(ids.map(async (id) => await manager.get(ctx, id)))
      const states = await Promise.allSettled(found.map((task) => task.state(ctx)))
      return states.every((each) => each.status === 'fulfilled')
    })
    const kept = new Map((await manager.list(ctx)).map(({ id, pid }) => [id, pid]))
    assert.deepEqual(kept, new Map(tasks.map(({ id, pid }) => [id, pid])))
    // Exits are seen, also by those who have waited since before.
    for (const id of ids) await (await manager.get(ctx, id)).kill(ctx, { signal: 9 })
    const exits = await Promise.all(waiting)
    assert.ok(exits.every(({ status }) => status === 137 || status === 255))
    for (const id of ids) await manager.delete(ctx, id)
    for (const id of ids) {
      await until('the last event', () => bench.topics(id).includes('/tasks/delete'))
      const ends = ['/tasks/create', '/tasks/start', '/tasks/exit', '/tasks/delete']
      assert.deepEqual(bench.topics(id), ends)
      assertGone(bench, id)
    }
  })

  check('a container outlives the daemon, which finds it again', async (bench) => {
    const { ctx } = bench
    const task = await bench.create('a', ['sleep', '1000'])
    await task.start(ctx)
    await bench.reopen()
    assert.ok(isAlive(task.pid))
    const found = await bench.manager.get(ctx, 'a')
    assert.equal(found.pid, task.pid)
    assert.deepEqual(
      (await bench.manager.list(ctx)).map(({ id }) => id),
      ['a'],
    )
    const waiting = found.wait(ctx)
    await found.kill(ctx, { signal: 9 })
    assert.equal((await waiting).status, 137)
    await until('the exit event', () => bench.topics('a').includes('/tasks/exit'))
    const last = bench.events.find(({ topic }) => topic === '/tasks/exit')
    assert.equal(fromBinary(TaskExitSchema, last?.event.value ?? Buffer.of()).exitStatus, 137)
    await bench.manager.delete(ctx, 'a')
    assertGone(bench, 'a')
  })

  check('a container that ended while the daemon was away is still there', async (bench) => {
    const { ctx } = bench
    const task = await bench.create('a', ['sh', '-c', 'exit 9'])
    await task.start(ctx)
    await task.wait(ctx)
    await bench.reopen()
    const found = await bench.manager.get(ctx, 'a')
    assert.equal((await found.wait(ctx)).status, 9)
    assert.equal((await bench.manager.delete(ctx, 'a')).status, 9)
  })

  check('a shim that died while the daemon was away is cleaned up', async (bench) => {
    const { ctx } = bench
    const task = await bench.create('a', ['sleep', '1000'])
    await task.start(ctx)
    const found = ownShims(bench)
    await bench.reopen(() => {
      for (const pid of found) process.kill(pid, 'SIGKILL')
    })
    if (options.builtinShim) {
      assert.equal((await bench.manager.get(ctx, 'a')).pid, task.pid)
      assert.ok(isAlive(task.pid))
      return
    }
    await rejectsWith('not_found', bench.manager.get(ctx, 'a'))
    await until('the container has ended', () => !isAlive(task.pid))
    assert.deepEqual(bench.topics('a').slice(-2), ['/tasks/exit', '/tasks/delete'])
    assertGone(bench, 'a')
  })

  check('a shim is found again when the daemon was killed before it noted where', async (bench) => {
    // The host of a namespace is at a place of its own, and ends by itself.
    if (options.builtinShim) return
    const { ctx } = bench
    const task = await bench.create('a', ['sleep', '1000'])
    await bench.reopen(() => {
      for (const name of ['bootstrap.json', 'address']) {
        rmSync(join(bench.bundle('a'), name), { force: true })
      }
    })
    assert.equal((await bench.manager.get(ctx, 'a')).pid, task.pid)
  })

  check('a stopped shim delays nobody and is not given up', async (bench) => {
    const { ctx } = bench
    const task = await bench.create('a', ['sleep', '1000'])
    await task.start(ctx)
    const [shim] = ownShims(bench)
    assert.ok(shim)
    process.kill(shim, 'SIGSTOP')
    try {
      await bench.reopen()
      await rejectsWith('not_found', bench.manager.get(ctx, 'other'))
      const found = await bench.manager.get(ctx, 'a')
      await rejectsWith('deadline_exceeded', found.state(ctx))
    } finally {
      process.kill(shim, 'SIGCONT')
    }
    const found = await bench.manager.get(ctx, 'a')
    assert.equal((await found.state(ctx)).pid, task.pid)
  })
})
