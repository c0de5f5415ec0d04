import assert from 'node:assert/strict'
import { type TestContext, suite, test } from 'node:test'

import { fromBinary } from '@bufbuild/protobuf'

import { ProcessDetailsSchema } from '#gen/types/runc-options_pb.ts'
import { Status } from '#gen/types/task_pb.ts'
import { handlesOf } from '#testing/handles.ts'
import { root } from '#testing/root.ts'

import { ShimFixture, type TaskClient, execSpec, fails, readFifo } from './test-host.ts'

const check = (
  title: string,
  body: (shim: ShimFixture, tasks: TaskClient) => Promise<void>,
): void => {
  test(title, { timeout: 60_000 }, async (t: TestContext) => {
    if (!root(t)) return
    await using shim = await ShimFixture.open()
    const bundle = await shim.bundle('c', ['sleep', '1000'])
    const tasks = await shim.connect(bundle)
    await tasks.create(bundle.request)
    await tasks.start({ id: 'c' })
    await body(shim, tasks)
  })
}

suite('execs of a shim host', () => {
  check('an exec runs beside init, with output and exit code', async (shim, tasks) => {
    const stdout = await shim.fifo('out')
    const output = readFifo(stdout)
    const spec = execSpec('sh', '-c', 'echo inside; exit 4')
    await tasks.exec({ id: 'c', execId: 'x', stdout, spec })
    assert.equal((await tasks.state({ id: 'c', execId: 'x' })).status, Status.CREATED)
    const waiting = tasks.wait({ id: 'c', execId: 'x' })
    const { pid } = await tasks.start({ id: 'c', execId: 'x' })
    assert.ok(pid > 0)
    assert.equal((await waiting).exitStatus, 4)
    assert.equal(await output, 'inside\n')
    const state = await tasks.state({ id: 'c', execId: 'x' })
    assert.deepEqual([state.status, state.exitStatus, state.pid], [Status.STOPPED, 4, pid])
    const deleted = await tasks.delete({ id: 'c', execId: 'x' })
    assert.deepEqual([deleted.exitStatus, deleted.pid], [4, pid])
    await fails(
      tasks.state({ id: 'c', execId: 'x' }),
      'not_found',
      /^process does not exist x: not/,
    )
    assert.deepEqual((await shim.topics(5)).slice(2), [
      '/tasks/exec-added',
      '/tasks/exec-started',
      '/tasks/exit',
    ])
  })

  test('an exec runs in a container whose own program has not begun', {
    timeout: 60_000,
  }, async (t) => {
    if (!root(t)) return
    await using shim = await ShimFixture.open()
    const bundle = await shim.bundle('c', ['sleep', '1000'])
    const tasks = await shim.connect(bundle)
    await tasks.create(bundle.request)
    for (const execId of ['before', 'through']) {
      await tasks.exec({ id: 'c', execId, spec: execSpec('sh', '-c', 'exit 4') })
    }
    await tasks.start({ id: 'c', execId: 'before' })
    assert.equal((await tasks.wait({ id: 'c', execId: 'before' })).exitStatus, 4)
    await tasks.start({ id: 'c' })
    await tasks.start({ id: 'c', execId: 'through' })
    assert.equal((await tasks.wait({ id: 'c', execId: 'through' })).exitStatus, 4)
  })

  check('input that ends while an exec is being started has ended', async (shim, tasks) => {
    const stdin = await shim.fifo('in')
    await tasks.exec({ id: 'c', execId: 'x', stdin, spec: execSpec('cat') })
    const starting = tasks.start({ id: 'c', execId: 'x' })
    await tasks.closeIO({ id: 'c', execId: 'x', stdin: true })
    await starting
    assert.equal((await tasks.wait({ id: 'c', execId: 'x' })).exitStatus, 0)
  })

  check('an exec is killed and listed', async (_shim, tasks) => {
    await tasks.exec({ id: 'c', execId: 'x', spec: execSpec('sleep', '1000') })
    await fails(
      tasks.kill({ id: 'c', execId: 'x', signal: 9 }),
      'failed_precondition',
      /^process not created: failed precondition$/,
    )
    const { pid } = await tasks.start({ id: 'c', execId: 'x' })
    const { processes } = await tasks.pids({ id: 'c' })
    const listed = processes.find((each) => each.pid === pid)
    assert.equal(fromBinary(ProcessDetailsSchema, listed?.info?.value ?? Buffer.of()).execId, 'x')
    await fails(
      tasks.delete({ id: 'c', execId: 'x' }),
      'unknown',
      /^cannot delete a running process$/,
    )
    await tasks.kill({ id: 'c', execId: 'x', signal: 9 })
    assert.equal((await tasks.wait({ id: 'c', execId: 'x' })).exitStatus, 137)
    await fails(
      tasks.kill({ id: 'c', execId: 'x', signal: 9 }),
      'not_found',
      /^process already finished: not found$/,
    )
    await tasks.delete({ id: 'c', execId: 'x' })
  })

  check(
    'streams of execs that nobody deletes are closed with the container',
    async (shim, tasks) => {
      const [host = 0] = shim.hosts()
      const paths = await Promise.all(
        ['out', 'err', 'other'].map(async (name) => await shim.fifo(name)),
      )
      const [stdout = '', stderr = '', other = ''] = paths
      const open = (): string[] => handlesOf(host).filter((path) => paths.includes(path))
      await tasks.exec({ id: 'c', execId: 'ended', stdout, stderr, spec: execSpec('true') })
      await tasks.start({ id: 'c', execId: 'ended' })
      await tasks.wait({ id: 'c', execId: 'ended' })
      await tasks.exec({ id: 'c', execId: 'runs', stdout: other, spec: execSpec('sleep', '1000') })
      await tasks.start({ id: 'c', execId: 'runs' })
      await tasks.exec({ id: 'c', execId: 'not started', stdout: other, spec: execSpec('true') })
      assert.deepEqual(open().toSorted(), paths.toSorted())
      await tasks.kill({ id: 'c', signal: 9 })
      await tasks.wait({ id: 'c' })
      await tasks.delete({ id: 'c' })
      await shim.until(() => open().length === 0)
    },
  )

  check('an exec that cannot start says why and can be deleted', async (_shim, tasks) => {
    await tasks.exec({ id: 'c', execId: 'x', spec: execSpec('nonsense') })
    await fails(
      tasks.exec({ id: 'c', execId: 'x', spec: execSpec('true') }),
      'already_exists',
      /^id x: already exists$/,
    )
    await fails(
      tasks.start({ id: 'c', execId: 'x' }),
      'unknown',
      /^OCI runtime exec failed: .*exec: "nonsense": executable file not found/,
    )
    await tasks.delete({ id: 'c', execId: 'x' })
    await fails(tasks.exec({ id: 'c', execId: 'y' }), 'invalid_argument', /^exec spec is required/)
  })

  check('the exits of execs are told before that of init', async (shim, tasks) => {
    for (const execId of ['x', 'y']) {
      await tasks.exec({ id: 'c', execId, spec: execSpec('sleep', '1000') })
      await tasks.start({ id: 'c', execId })
    }
    await tasks.exec({ id: 'c', execId: 'never', spec: execSpec('true') })
    await tasks.kill({ id: 'c', signal: 9 })
    await tasks.wait({ id: 'c' })
    for (const execId of ['x', 'y']) {
      assert.equal((await tasks.wait({ id: 'c', execId })).exitStatus, 137)
    }
    await fails(
      tasks.start({ id: 'c', execId: 'never' }),
      'failed_precondition',
      /^container c init process is not running: failed precondition$/,
    )
    await shim.topics(10)
    const exits = shim.exits().map(({ id }) => id)
    assert.deepEqual([exits.slice(0, -1).toSorted(), exits.at(-1)], [['x', 'y'], 'c'])
    await fails(
      tasks.exec({ id: 'c', execId: 'z', spec: execSpec('true') }),
      'unknown',
      /^cannot exec in a stopped state$/,
    )
  })

  check('many execs at once each get their own exit code', async (_shim, tasks) => {
    const codes = Array.from({ length: 12 }, (_, i) => i)
    const exits = codes.map(async (code) => {
      const execId = `x${code}`
      await tasks.exec({ id: 'c', execId, spec: execSpec('sh', '-c', `exit ${code}`) })
      await tasks.start({ id: 'c', execId })
      const { exitStatus } = await tasks.wait({ id: 'c', execId })
      await tasks.delete({ id: 'c', execId })
      return exitStatus
    })
    assert.deepEqual(await Promise.all(exits), codes)
  })
})
