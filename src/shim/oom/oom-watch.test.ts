import assert from 'node:assert/strict'
import { appendFileSync, mkdirSync, mkdtempDisposableSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { fromBinary } from '@bufbuild/protobuf'

import { TaskOOMSchema } from '#gen/events/task_pb.ts'
import { ShimFixture, execSpec, launch } from '#shim/test-host.ts'
import { root } from '#testing/root.ts'

import { OomWatch } from './oom-watch.ts'

const check = (title: string, body: (shim: ShimFixture) => Promise<void>): void => {
  test(title, { timeout: 60_000 }, async (t: TestContext) => {
    if (!root(t)) return
    await using shim = await ShimFixture.open()
    await body(shim)
  })
}

/** More than the limit of the container. */
const greedy = 'dd if=/dev/zero of=/dev/null bs=64M count=1'

const oomsOf = (shim: ShimFixture): string[] =>
  shim.events
    .filter(({ topic }) => topic === '/tasks/oom')
    .map(({ event }) => fromBinary(TaskOOMSchema, event?.value ?? new Uint8Array()).containerId)

suite('containers that run out of memory', () => {
  check('it is told, and before the exit of the process that was killed for it', async (shim) => {
    const bundle = await shim.bundle('c', greedy.split(' '), { memory: 16 * 1024 * 1024 })
    const tasks = await launch(shim, bundle, {})
    assert.equal((await tasks.wait({ id: 'c' })).exitStatus, 137)
    await tasks.delete({ id: 'c' })
    const topics = await shim.topics(5)
    const expected = ['create', 'start', 'exit', 'delete'].map((name) => `/tasks/${name}`)
    assert.deepEqual(
      topics.filter((topic) => topic !== '/tasks/oom'),
      expected,
    )
    // It may have eaten all before its start is told.
    assert.ok(topics.indexOf('/tasks/oom') < topics.indexOf('/tasks/exit'))
    assert.deepEqual(oomsOf(shim), ['c'])
  })

  check('a process that nobody waits for is noticed too, and an exec', async (shim) => {
    const memory = 16 * 1024 * 1024
    const script = `${greedy}; sleep 1000`
    const bundle = await shim.bundle('c', ['sh', '-c', script], { memory })
    const other = await shim.bundle('other', ['sleep', '1000'], { memory })
    const tasks = await launch(shim, bundle, {})
    await tasks.create(other.request)
    await tasks.start({ id: 'other' })
    await shim.until(() => oomsOf(shim).length === 1)
    await tasks.exec({ id: 'other', execId: 'x', spec: execSpec(...greedy.split(' ')) })
    await tasks.start({ id: 'other', execId: 'x' })
    assert.equal((await tasks.wait({ id: 'other', execId: 'x' })).exitStatus, 137)
    await shim.until(() => oomsOf(shim).length === 2)
    assert.deepEqual(oomsOf(shim), ['c', 'other'])
  })

  check('a container that is killed by a client has not run out of memory', async (shim) => {
    const bundle = await shim.bundle('c', ['sleep', '1000'], { memory: 16 * 1024 * 1024 })
    const tasks = await launch(shim, bundle, {})
    await tasks.kill({ id: 'c', signal: 9 })
    await tasks.wait({ id: 'c' })
    await tasks.delete({ id: 'c' })
    const expected = ['create', 'start', 'exit', 'delete'].map((name) => `/tasks/${name}`)
    assert.deepEqual(await shim.topics(4), expected)
  })

  test('a group of version 2 is watched by its events', async () => {
    using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-oom-'))
    const group = join(dir.path, 'group')
    mkdirSync(group)
    writeFileSync(join(dir.path, 'cgroup.procs'), '')
    const file = join(group, 'memory.events')
    const events = (kills: number): string => `low 0\nmax 7\noom 1\noom_kill ${kills}\n`
    writeFileSync(file, events(3))
    using oom = new OomWatch()
    let told = 0
    const { promise, resolve } = Promise.withResolvers<void>()
    const memory = oom.watch(new Map([['', group]]), () => {
      told += 1
      resolve()
    })
    assert.ok(memory)
    memory.look()
    assert.equal(told, 0)
    writeFileSync(file, events(4))
    using _ = setInterval(() => {}, 1000)
    await promise
    writeFileSync(file, events(6))
    memory.look()
    assert.equal(told, 2)
    memory[Symbol.dispose]()
    writeFileSync(file, events(7))
    appendFileSync(file, '')
    await sleep(50)
    assert.equal(told, 2)
  })

  test('nothing is watched where nothing is counted, and not everybody', () => {
    using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-oom-'))
    writeFileSync(join(dir.path, 'memory.events'), 'oom_kill 1\n')
    using oom = new OomWatch()
    const watch = (groups: ReadonlyMap<string, string>): unknown => oom.watch(groups, () => {})
    assert.equal(watch(new Map([['memory', '/no/such/group']])), undefined)
    assert.equal(watch(new Map([['', '/no/such/group']])), undefined)
    assert.equal(watch(new Map()), undefined)
    // Nothing is above it: it is the root.
    assert.equal(watch(new Map([['', dir.path]])), undefined)
  })
})
