import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import type { NewContainer } from '#core/containers/containers.ts'
import type { Context } from '#core/context.ts'
import { restartLabels } from '#core/restart/restart.ts'
import type { ProcessState, Task, TaskManager } from '#core/runtime/runtime.ts'
import { CodedError, notFound } from '#lib/errors/errors.ts'
import { eventually } from '#testing/eventually.ts'
import { withMetadata } from '#testing/metadata.ts'

import { Attempts } from './attempts.ts'
import { RestartMonitor } from './monitor.ts'

test('a task that ends at once waits longer each time, and one that lasts does not', (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_000_000 })
  const attempts = new Attempts({ intervalMs: 10_000, maxBackoffMs: 30_000 })
  const endsNow = (): { seconds: bigint; nanos: number } => ({
    seconds: BigInt(Math.floor(Date.now() / 1000)),
    nanos: 0,
  })
  const waits: number[] = []
  for (let n = 0; n < 5; n++) {
    attempts.began('a')
    const ended = endsNow()
    let waited = 0
    for (; !attempts.isDue('a', ended); waited += 1000) t.mock.timers.tick(1000)
    waits.push(waited)
  }
  assert.deepEqual(waits, [10_000, 20_000, 30_000, 30_000, 30_000])
  attempts.began('a')
  t.mock.timers.tick(10_000)
  assert.ok(attempts.isDue('a', endsNow()))
  attempts.began('a')
  attempts.keep(new Set())
  assert.ok(attempts.isDue('a', undefined))
})

const labelled = (id: string): NewContainer => ({
  id,
  labels: { [restartLabels.status]: 'running' },
  image: '',
  runtime: { name: 'io.containerd.runc.v2' },
  spec: { typeUrl: 's', value: Buffer.from('{"process":{"terminal":true}}') },
  snapshotKey: '',
  snapshotter: '',
  sandbox: '',
  extensions: {},
})

const stateOf = (status: ProcessState['status']): ProcessState => ({
  containerId: '',
  execId: '',
  bundle: '',
  pid: 1,
  status,
  stdin: '',
  stdout: '',
  stderr: '',
  terminal: false,
  exitStatus: 0,
})

/** A task of which only the state is asked. */
function taskIn(id: string, state: (ctx: Context) => Promise<ProcessState>): Task {
  const nobody = (): never => {
    throw new CodedError('internal', 'nobody was to ask this')
  }
  return {
    id,
    namespace: 'testing',
    pid: 1,
    state,
    start: async () => await Promise.resolve(1),
    kill: async () => await Promise.resolve(),
    exec: nobody,
    deleteExec: nobody,
    resizePty: nobody,
    closeStdin: nobody,
    pause: nobody,
    resume: nobody,
    pids: nobody,
    checkpoint: nobody,
    update: nobody,
    stats: nobody,
    wait: async () => await Promise.resolve({ pid: 1, status: 0 }),
  }
}

/** Runs a monitor over containers and tasks; `created` are the ids it made tasks for, and how. */
async function monitoring(
  t: TestContext,
  tasks: Readonly<Record<string, (ctx: Context) => Promise<ProcessState>>>,
  body: (created: string[]) => Promise<void>,
): Promise<void> {
  await withMetadata(t, async ({ ctx, metadata }) => {
    const created: string[] = []
    await metadata.namespaces.create(ctx, { name: 'testing', labels: {} })
    for (const id of Object.keys(tasks)) await metadata.containers.create(ctx, labelled(id))
    const manager: TaskManager = {
      async get(_ctx, id) {
        const state = tasks[id]
        return await (state ? Promise.resolve(taskIn(id, state)) : Promise.reject(notFound(id)))
      },
      async create(_ctx, id, { terminal }) {
        created.push(`${id} ${terminal}`)
        return await Promise.resolve(
          taskIn(id, async () => await Promise.resolve(stateOf('running'))),
        )
      },
      list: async () => await Promise.resolve([]),
      delete: async () => await Promise.resolve({ pid: 1, status: 0 }),
      async [Symbol.asyncDispose]() {},
    }
    const { namespaces, containers } = metadata
    const parts = { namespaces, containers, tasks: manager, snapshots: new Map() }
    await using _monitor = new RestartMonitor(ctx, parts, { intervalMs: 30, maxBackoffMs: 0 })
    await body(created)
  })
}

const always = (status: ProcessState['status']) => async () =>
  await Promise.resolve(stateOf(status))

test('a shim that does not answer keeps no other container waiting', async (t) => {
  const stuck = async ({ signal }: Context): Promise<never> =>
    await sleep(60_000, undefined, { signal }).then(() => assert.fail())
  await monitoring(t, { stuck, ended: always('stopped') }, async (created) => {
    await eventually(async () => await Promise.resolve(created.length >= 3 || undefined))
    assert.deepEqual([...new Set(created)], ['ended true'])
  })
})

test('what is paused stays, and what a client is just starting is left to it', async (t) => {
  let looks = 0
  const starting = async (): Promise<ProcessState> => {
    looks++
    return await Promise.resolve(stateOf(looks === 1 ? 'created' : 'running'))
  }
  const tasks = { paused: always('paused'), pausing: always('pausing'), starting }
  await monitoring(t, tasks, async (created) => {
    await eventually(async () => await Promise.resolve(looks >= 4 || undefined))
    assert.deepEqual(created, [])
  })
})

test('what was created and never started is started', async (t) => {
  await monitoring(t, { left: always('created') }, async (created) => {
    await eventually(async () => await Promise.resolve(created[0]))
    assert.equal(created[0], 'left true')
  })
})
