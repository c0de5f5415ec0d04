import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'

import type { NewContainer } from '#core/containers/containers.ts'
import type { Context } from '#core/context.ts'
import type { CreateOptions, ProcessState, Task, TaskManager } from '#core/runtime/runtime.ts'
import { type Warnings, createWarnings } from '#core/warnings/warnings.ts'
import { Tasks } from '#gen/services/tasks_pb.ts'
import { CheckpointOptionsSchema, OptionsSchema } from '#gen/types/runc-options_pb.ts'
import { Status } from '#gen/types/task_pb.ts'
import { CodedError, notFound, unavailable } from '#lib/errors/errors.ts'
import type { CallOptions, ServiceClient } from '#lib/rpc/rpc.ts'
import { callOptions } from '#proxy/call.ts'
import { pack } from '#proxy/convert/pack.ts'
import { withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { Checkpoints } from './checkpoints.ts'
import { tasksApi } from './grpc.ts'
import { ContainerTaskManager } from './service.ts'

const state: ProcessState = {
  containerId: 'one',
  execId: '',
  bundle: '/b',
  pid: 42,
  status: 'running',
  stdin: 'in',
  stdout: 'out',
  stderr: 'err',
  terminal: true,
  exitStatus: 0,
}

const container: NewContainer = {
  id: 'one',
  labels: {},
  image: '',
  runtime: { name: 'io.containerd.runc.v2', options: { typeUrl: 'o', value: Uint8Array.of(1) } },
  spec: { typeUrl: 's', value: Uint8Array.of(0x7b, 0x7d) },
  snapshotKey: '',
  snapshotter: '',
  sandbox: 'box',
  extensions: {},
}

const unasked = (): never => {
  throw new Error('nobody was to ask this')
}

/** A task that only a fake can be: one that answers what no shim would. */
function taskSaying(answers: Partial<Task>): Task {
  const refuse = unasked
  return {
    id: 'one',
    namespace: 'testing',
    pid: 42,
    state: refuse,
    start: refuse,
    kill: refuse,
    exec: refuse,
    deleteExec: refuse,
    resizePty: refuse,
    closeStdin: refuse,
    pause: refuse,
    resume: refuse,
    pids: refuse,
    checkpoint: refuse,
    update: refuse,
    stats: refuse,
    wait: refuse,
    ...answers,
  }
}

interface Given {
  readonly ctx: Context
  readonly client: ServiceClient<typeof Tasks>
  readonly options: CallOptions
  readonly created: CreateOptions[]
  readonly warnings: Warnings
}

/** Serves `tasks` of container `one`, whose record exists. */
async function serving(
  t: TestContext,
  tasks: readonly Task[],
  body: (given: Given) => Promise<void>,
): Promise<void> {
  await withMetadata(t, async ({ ctx, metadata }) => {
    await metadata.containers.create(ctx, container)
    const created: CreateOptions[] = []
    const runtime: TaskManager = {
      async create(_ctx, id, options) {
        await Promise.resolve()
        created.push(options)
        return taskSaying({ id, pid: 7 })
      },
      async get(_ctx, id) {
        await Promise.resolve()
        const task = tasks.find((one) => one.id === id)
        if (!task) throw notFound(`no running task ${id}`)
        return task
      },
      list: async () => await Promise.resolve(tasks),
      delete: async () => await Promise.reject(unavailable('still in use')),
      async [Symbol.asyncDispose]() {},
    }
    const manager = new ContainerTaskManager(metadata.containers, runtime)
    const { containers, content } = metadata
    // Whole checkpoints, with real differs, are tried in test/integration.
    const differ = { apply: unasked, compare: unasked }
    const checkpoints = new Checkpoints('/nowhere', { content, differ })
    const warnings = createWarnings()
    const parts = { containers, checkpoints, warnings }
    await using served = await serve(ctx, [tasksApi(manager, parts)])
    const client = served.connection.client(Tasks)
    await body({ ctx, client, options: callOptions(ctx), created, warnings })
  })
}

test('a task is made from the record of its container and the request', async (t) => {
  await serving(t, [], async ({ client, options, created }) => {
    const rootfs = [{ type: 'bind', source: '/r', options: ['rbind'] }]
    const request = { containerId: 'one', rootfs, stdin: 'i', stdout: 'o', terminal: true }
    const criu = pack(OptionsSchema, { criuImagePath: '/criu' })
    const { pid } = await client.create({ ...request, options: criu }, options)
    assert.equal(pid, 7)
    await client.create({ ...request, runtimePath: '/my/shim' }, options)
    const [first, second] = created
    assert.ok(first && second)
    assert.deepEqual(first.spec, container.spec)
    assert.deepEqual(first.rootfs, rootfs)
    assert.deepEqual([first.runtime, second.runtime], ['io.containerd.runc.v2', '/my/shim'])
    assert.deepEqual(first.runtimeOptions, container.runtime.options)
    assert.deepEqual([first.checkpoint, second.checkpoint], ['/criu', ''])
    assert.deepEqual(
      [first.sandbox, first.stdin, first.stdout, first.terminal],
      ['box', 'i', 'o', true],
    )
  })
})

test('what is missing is named: the container first, then its task', async (t) => {
  await serving(t, [], async ({ client, options }) => {
    await rejectsWith(
      'not_found',
      client.start({ containerId: 'none' }, options),
      'container "none" in namespace "testing": not found',
    )
    await rejectsWith(
      'not_found',
      client.start({ containerId: 'one' }, options),
      'task one not found',
    )
    await rejectsWith(
      'not_found',
      client.delete({ containerId: 'one' }, options),
      'task one not found',
    )
    await rejectsWith(
      'failed_precondition',
      client.list({}, {}),
      'namespace is required: failed precondition',
    )
  })
})

test('a container has one task at a time', async (t) => {
  await serving(t, [taskSaying({})], async ({ client, options }) => {
    await rejectsWith(
      'already_exists',
      client.create({ containerId: 'one' }, options),
      'task one: already exists',
    )
  })
})

test('a process is told as it is, and an end that has not come as the beginning of time', async (t) => {
  const task = taskSaying({
    state: async (_ctx, execId = '') => await Promise.resolve({ ...state, execId }),
  })
  await serving(t, [task], async ({ client, options }) => {
    const { process } = await client.get({ containerId: 'one', execId: 'e' }, options)
    assert.ok(process)
    assert.deepEqual([process.id, process.pid, process.status], ['e', 42, Status.RUNNING])
    assert.equal(process.exitedAt?.seconds, -62_135_596_800n)
    const { tasks } = await client.list({}, options)
    assert.deepEqual(
      tasks.map(({ id }) => id),
      ['one'],
    )
  })
})

test('a task whose shim hangs or is gone is left out of the list, and is an error alone', async (t) => {
  const gone = taskSaying({ id: 'gone', state: async () => await Promise.reject(notFound('shim')) })
  const hung = taskSaying({
    id: 'hung',
    state: async () =>
      await Promise.reject(new CodedError('deadline_exceeded', 'context deadline exceeded')),
  })
  const odd = taskSaying({ id: 'one', state: async () => await Promise.reject(new Error('what?')) })
  await serving(t, [gone, hung, odd], async ({ client, options }) => {
    const { tasks } = await client.list({}, options)
    assert.deepEqual(
      tasks.map(({ id, status }) => [id, status]),
      [['one', Status.UNKNOWN]],
    )
  })
  const alone = taskSaying({
    state: async () => await Promise.reject(unavailable('ttrpc: closed')),
  })
  await serving(t, [alone], async ({ client, options }) => {
    await rejectsWith('unavailable', client.get({ containerId: 'one' }, options))
  })
})

test('metrics are of the tasks that a filter names, as far as they can be had', async (t) => {
  const data = { typeUrl: 'm', value: Buffer.of(9) }
  const tasks = [
    taskSaying({ id: 'a', stats: async () => await Promise.resolve(data) }),
    taskSaying({ id: 'b', stats: async () => await Promise.resolve(data) }),
    taskSaying({ id: 'c', stats: async () => await Promise.reject(new Error('no cgroup')) }),
  ]
  await serving(t, tasks, async ({ client, options }) => {
    const idsOf = async (...filters: string[]) =>
      (await client.metrics({ filters }, options)).metrics.map(({ id }) => id)
    assert.deepEqual(await idsOf(), ['a', 'b'])
    assert.deepEqual(await idsOf('id==b', 'id==c'), ['b'])
    assert.deepEqual(await idsOf('namespace==other'), [])
    await rejectsWith('invalid_argument', client.metrics({ filters: ['id=='] }, options))
  })
})

test('an exec needs a name', async (t) => {
  await serving(t, [taskSaying({})], async ({ client, options }) => {
    await rejectsWith(
      'invalid_argument',
      client.exec({ containerId: 'one' }, options),
      'exec id cannot be empty',
    )
  })
})

test('a checkpoint goes where its options say', async (t) => {
  const paths: string[] = []
  const task = taskSaying({
    checkpoint: async (_ctx, path) => await Promise.resolve(void paths.push(path)),
  })
  await serving(t, [task], async ({ client, options }) => {
    const given = pack(CheckpointOptionsSchema, { imagePath: '/there' })
    await client.checkpoint({ containerId: 'one', options: given }, options)
    assert.deepEqual(paths, ['/there'])
    const wrong = client.checkpoint({ containerId: 'one', options: { typeUrl: 'x' } }, options)
    const message = 'invalid task checkpoint option for io.containerd.runc.v2'
    await rejectsWith('unknown', wrong, message)
  })
})

test('where a sandbox serves tasks is in the request, or as of old in the options', async (t) => {
  await serving(t, [], async ({ client, options, created, warnings }) => {
    const request = { containerId: 'one' }
    const old = pack(OptionsSchema, { taskApiAddress: 'ttrpc+unix:///old', taskApiVersion: 3 })
    await client.create({ ...request, options: old }, options)
    assert.deepEqual(
      warnings.warnings().map(({ id }) => id.split('-').at(-1)),
      ['address', 'version'],
    )
    const newer = { taskApiAddress: 'ttrpc+unix:///new', taskApiVersion: 4 }
    await client.create({ ...request, ...newer, options: old }, options)
    await client.create(request, options)
    assert.deepEqual(
      created.map(({ taskApi }) => taskApi),
      [
        { address: 'ttrpc+unix:///old', version: 3 },
        { address: 'ttrpc+unix:///new', version: 4 },
        undefined,
      ],
    )
  })
})
