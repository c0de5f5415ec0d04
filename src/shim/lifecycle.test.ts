import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'

import { jsonTypes } from '#core/any/any.ts'
import { MetricsSchema as V1MetricsSchema } from '#gen/cgroups/v1_pb.ts'
import { MetricsSchema as V2MetricsSchema } from '#gen/cgroups/v2_pb.ts'
import { DeleteResponseSchema } from '#gen/shim/task-v3_pb.ts'
import { OptionsSchema } from '#gen/types/runc-options_pb.ts'
import { Status } from '#gen/types/task_pb.ts'
import { mountInfo } from '#sys/mount-info.ts'
import { root } from '#testing/root.ts'

import { ShimFixture, fails, readFifo } from './test-host.ts'

const check = (title: string, body: (shim: ShimFixture) => Promise<void>): void => {
  test(title, { timeout: 60_000 }, async (t: TestContext) => {
    if (!root(t)) return
    await using shim = await ShimFixture.open()
    await body(shim)
  })
}

suite('tasks of a shim host', () => {
  check('a container runs, its output arrives, and its events come in order', async (shim) => {
    const bundle = await shim.bundle('one', ['sh', '-c', 'echo hello; echo oops >&2; exit 7'])
    const tasks = await shim.connect(bundle)
    const [stdout, stderr] = [await shim.fifo('out'), await shim.fifo('err')]
    const output = Promise.all([readFifo(stdout), readFifo(stderr)])
    const { pid } = await tasks.create({ ...bundle.request, stdout, stderr })
    assert.equal((await tasks.state({ id: 'one' })).status, Status.CREATED)
    const waiting = tasks.wait({ id: 'one' })
    assert.equal((await tasks.start({ id: 'one' })).pid, pid)
    const exit = await waiting
    assert.equal(exit.exitStatus, 7)
    assert.ok(exit.exitedAt && Number(exit.exitedAt.seconds) > Date.now() / 1000 - 60)
    assert.deepEqual(await output, ['hello\n', 'oops\n'])
    const state = await tasks.state({ id: 'one' })
    assert.deepEqual(
      [state.status, state.exitStatus, state.pid, state.bundle, state.stdout],
      [Status.STOPPED, 7, pid, bundle.path, stdout],
    )
    assert.equal((await tasks.delete({ id: 'one' })).exitStatus, 7)
    const expected = ['/tasks/create', '/tasks/start', '/tasks/exit', '/tasks/delete']
    assert.deepEqual(await shim.topics(4), expected)
    assert.deepEqual(
      mountInfo().filter(({ mountPoint }) => mountPoint.startsWith(bundle.path)),
      [],
    )
  })

  check('a container that comes or goes is told of when it is there, or is not', async (shim) => {
    const bundle = await shim.bundle('one', ['true'])
    const tasks = await shim.connect(bundle)
    // What a daemon has asked that is gone, and what the next one asks.
    const [{ pid }, created] = await Promise.all([
      tasks.create(bundle.request),
      tasks.state({ id: 'one' }),
    ])
    assert.deepEqual([created.status, created.pid], [Status.CREATED, pid])
    const deleting = tasks.delete({ id: 'one' })
    await fails(tasks.state({ id: 'one' }), 'not_found', /container not created/)
    await deleting
  })

  check('two containers share one host, and both versions of the service', async (shim) => {
    const [a, b] = [await shim.bundle('a', ['sleep', '100']), await shim.bundle('b', ['true'])]
    const started = await Promise.all([shim.shim(a, 'start'), shim.shim(b, 'start')])
    const [first, second] = started.map(({ stdout }) => stdout.toString())
    assert.match(first ?? '', /^unix:\/\/.*\/s\/[0-9a-f]{64}$/)
    assert.equal(first, second)
    const tasks = await shim.connectTo(first ?? '')
    await tasks.create(a.request)
    const old = await shim.connectV2(first ?? '')
    await old.create(b.request)
    await tasks.start({ id: 'a' })
    await old.start({ id: 'b' })
    assert.equal((await old.wait({ id: 'b' })).exitStatus, 0)
    await tasks.delete({ id: 'b' })
    assert.equal((await old.state({ id: 'a' })).status, Status.RUNNING)
    await tasks.shutdown({ id: 'b', now: true })
    assert.equal((await tasks.state({ id: 'a' })).status, Status.RUNNING)
  })

  check('a container is killed, and then there is nothing to kill', async (shim) => {
    const bundle = await shim.bundle('k', ['sleep', '100'])
    const tasks = await shim.connect(bundle)
    await tasks.create(bundle.request)
    await tasks.start({ id: 'k' })
    await fails(tasks.delete({ id: 'k' }), 'unknown', /cannot delete a running process/)
    await tasks.kill({ id: 'k', signal: 9 })
    assert.equal((await tasks.wait({ id: 'k' })).exitStatus, 137)
    await fails(
      tasks.kill({ id: 'k', signal: 9 }),
      'not_found',
      /^process already finished: not found/,
    )
    await fails(tasks.start({ id: 'k' }), 'unknown', /^cannot start a stopped process$/)
    await tasks.delete({ id: 'k' })
    await fails(tasks.state({ id: 'k' }), 'not_found', /^container not created: not found$/)
    await fails(tasks.wait({ id: 'k' }), 'not_found', /container not created/)
  })

  check(
    'a container that was never started is deleted, and its exit is told first',
    async (shim) => {
      const bundle = await shim.bundle('n', ['true'])
      const tasks = await shim.connect(bundle)
      await tasks.create(bundle.request)
      await tasks.delete({ id: 'n' })
      assert.deepEqual(await shim.topics(3), ['/tasks/create', '/tasks/exit', '/tasks/delete'])
    },
  )

  check('a container is paused and resumed', async (shim) => {
    const bundle = await shim.bundle('p', ['sleep', '100'])
    const tasks = await shim.connect(bundle)
    await tasks.create(bundle.request)
    await fails(tasks.pause({ id: 'p' }), 'unknown', /^cannot pause task in created state$/)
    await tasks.start({ id: 'p' })
    await fails(tasks.resume({ id: 'p' }), 'unknown', /^cannot resume a running process$/)
    await tasks.pause({ id: 'p' })
    assert.equal((await tasks.state({ id: 'p' })).status, Status.PAUSED)
    await fails(tasks.pause({ id: 'p' }), 'unknown', /^cannot pause a paused container$/)
    await tasks.resume({ id: 'p' })
    assert.equal((await tasks.state({ id: 'p' })).status, Status.RUNNING)
    assert.deepEqual((await shim.topics(4)).slice(2), ['/tasks/paused', '/tasks/resumed'])
  })

  check('a container is measured and updated', async (shim) => {
    const bundle = await shim.bundle('m', ['sleep', '100'])
    const tasks = await shim.connect(bundle)
    await tasks.create(bundle.request)
    await tasks.start({ id: 'm' })
    const limit = 64 * 1024 * 1024
    const value = Buffer.from(JSON.stringify({ memory: { limit } }))
    const resources = { typeUrl: jsonTypes.linuxResources, value }
    await tasks.update({ id: 'm', resources })
    const { stats } = await tasks.stats({ id: 'm' })
    assert.ok(stats)
    if (stats.typeUrl === V1MetricsSchema.typeName) {
      const metrics = fromBinary(V1MetricsSchema, stats.value)
      assert.equal(metrics.memory?.usage?.limit, BigInt(limit))
      assert.ok(metrics.memory.usage.usage > 0n)
      assert.equal(metrics.pids?.current, 1n)
      assert.ok((metrics.cpu?.usage?.total ?? 0n) > 0n)
    } else {
      assert.equal(stats.typeUrl, V2MetricsSchema.typeName)
      const metrics = fromBinary(V2MetricsSchema, stats.value)
      assert.equal(metrics.memory?.usageLimit, BigInt(limit))
      assert.equal(metrics.pids?.current, 1n)
    }
    const { processes } = await tasks.pids({ id: 'm' })
    const { pid } = await tasks.state({ id: 'm' })
    assert.deepEqual(
      processes.map((each) => each.pid),
      [pid],
    )
  })

  check('what the OCI runtime refuses is told in its words, and undone', async (shim) => {
    const bundle = await shim.bundle('bad', ['no-such-program'])
    const tasks = await shim.connect(bundle)
    await fails(
      tasks.create(bundle.request),
      'unknown',
      /^OCI runtime create failed: .*exec: "no-such-program": executable file not found in \$PATH$/,
    )
    await fails(tasks.state({ id: 'bad' }), 'not_found', /container not created/)
    assert.deepEqual(
      mountInfo().filter(({ mountPoint }) => mountPoint.startsWith(bundle.path)),
      [],
    )
    const other = await shim.bundle('other', ['true'])
    const value = toBinary(OptionsSchema, create(OptionsSchema, { binaryName: 'no-such-runc' }))
    const options = { typeUrl: OptionsSchema.typeName, value }
    await fails(
      tasks.create({ ...other.request, options }),
      'unknown',
      /^OCI runtime create failed: unable to retrieve OCI runtime error .*no-such-runc/,
    )
    await fails(tasks.create({ ...other.request, stdout: '/no/fifo' }), 'unknown', /ENOENT/)
    await tasks.create(other.request)
    await fails(tasks.create(other.request), 'already_exists', /other/)
    await fails(tasks.checkpoint({ id: 'other' }), 'unknown', /cannot checkpoint a task in created/)
  })

  check('a caller who leaves in the middle leaves a state that is true', async (shim) => {
    const bundle = await shim.bundle('l', ['sleep', '1000'])
    const tasks = await shim.connect(bundle)
    for (const ms of [1, 5, 10, 20, 30, 40]) {
      await tasks.create(bundle.request, { timeoutMs: ms }).catch(() => {})
      // It may have been made just when the caller left.
      await shim.gone(tasks, 'l')
    }
    for (const ms of [1, 3, 6, 9, 12]) {
      const { pid } = await tasks.create(bundle.request)
      await tasks.start({ id: 'l' }, { timeoutMs: ms }).catch(() => {})
      // Waits for the start that may still be under way.
      await tasks.kill({ id: 'l', signal: 0 }).catch(() => {})
      const { status } = await tasks.state({ id: 'l' })
      // The runtime is done a moment before the program replaces its init.
      const runs = (): boolean => readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('sleep')
      if (status === Status.RUNNING) await shim.until(runs)
      else assert.ok(!runs(), `${ms} ms`)
      await tasks.kill({ id: 'l', signal: 9 })
      await tasks.wait({ id: 'l' })
      await tasks.delete({ id: 'l' })
    }
    const { shimPid } = await tasks.connect({ id: '' })
    await shim.until(() => shim.childrenOf(shimPid).length === 0)
  })

  check('a failed mount leaves nothing mounted', async (shim) => {
    const bundle = await shim.bundle('mnt', ['true'])
    const tasks = await shim.connect(bundle)
    const missing = { type: 'bind', source: '/no/such', target: '', options: ['rbind'] }
    const rootfs = [...bundle.rootfs, missing]
    await fails(
      tasks.create({ ...bundle.request, rootfs }),
      'unknown',
      /^failed to mount rootfs component: ENOENT/,
    )
    assert.deepEqual(
      mountInfo().filter(({ mountPoint }) => mountPoint.startsWith(bundle.path)),
      [],
    )
  })

  check('processes that share the pid namespace of the host end with init', async (shim) => {
    const bundle = await shim.bundle('s', ['sh', '-c', 'sleep 1000 & exit 3'], { sharedPid: true })
    const tasks = await shim.connect(bundle)
    await tasks.create(bundle.request)
    await tasks.start({ id: 's' })
    assert.equal((await tasks.wait({ id: 's' })).exitStatus, 3)
    await tasks.delete({ id: 's' })
    const { shimPid } = await tasks.connect({ id: '' })
    await shim.until(() => shim.childrenOf(shimPid).length === 0)
  })

  check('after SIGKILL of the host, `delete` removes what it left', async (shim) => {
    const bundle = await shim.bundle('d', ['sleep', '1000'])
    const tasks = await shim.connect(bundle)
    const { pid } = await tasks.create(bundle.request)
    await tasks.start({ id: 'd' })
    const { shimPid } = await tasks.connect({ id: 'd' })
    process.kill(shimPid, 'SIGKILL')
    await shim.until(() => !existsSync(`/proc/${shimPid}/exe`))
    assert.ok(existsSync(`/proc/${pid}`))
    const { stdout, code } = await shim.shim(bundle, 'delete')
    assert.equal(code, 0)
    const deleted = fromBinary(DeleteResponseSchema, stdout)
    assert.deepEqual([deleted.pid, deleted.exitStatus], [pid, 137])
    await shim.until(() => !existsSync(`/proc/${pid}/exe`))
    assert.deepEqual(readdirSync(join(shim.dir, 'runc', shim.namespace)), [])
    assert.deepEqual(
      mountInfo().filter(({ mountPoint }) => mountPoint.startsWith(bundle.path)),
      [],
    )
    const next = await shim.connect(await shim.bundle('e', ['true']))
    assert.notEqual((await next.connect({ id: '' })).shimPid, shimPid)
  })

  check('a polite signal does not take the host from its containers', async (shim) => {
    const bundle = await shim.bundle('t', ['sleep', '1000'])
    const tasks = await shim.connect(bundle)
    await tasks.create(bundle.request)
    await tasks.start({ id: 't' })
    const { shimPid } = await tasks.connect({ id: '' })
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.kill(shimPid, signal)
    await tasks.kill({ id: 't', signal: 9 })
    await tasks.wait({ id: 't' })
    await tasks.delete({ id: 't' })
    process.kill(shimPid, 'SIGTERM')
    await shim.until(() => shim.hosts().length === 0)
  })

  check('the host ends when it has had nothing to do for a while', async (shim) => {
    const bundle = await shim.bundle('i', ['true'])
    const { stdout } = await shim.shim(bundle, 'start', { env: { WHARF_SHIM_IDLE_MS: '200' } })
    const socket = stdout.toString().replace('unix://', '')
    assert.ok(existsSync(socket))
    await shim.until(() => !existsSync(socket))
  })

  check('Shutdown with `now` ends the host at once when no container is left', async (shim) => {
    const bundle = await shim.bundle('q', ['true'])
    const tasks = await shim.connect(bundle)
    const { shimPid } = await tasks.connect({ id: '' })
    await tasks.shutdown({ id: 'q', now: true })
    await shim.until(() => !existsSync(`/proc/${shimPid}/exe`))
    assert.deepEqual(readdirSync(join(shim.dir, 's')), [])
  })
})
