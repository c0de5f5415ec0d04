import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { Tasks } from '#gen/services/tasks_pb.ts'
import { Status } from '#gen/types/task_pb.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import type { Connection } from '#lib/rpc/rpc.ts'

import type { Prepared, Row, Samples, Subject } from './row.ts'
import { shimOf } from './shims.ts'
import { firstAnswer } from './start.ts'

const answer = 'restart under many containers, to the first answer'
const attached = 'restart under many containers, to all attached'
const kept = 'restart under many containers, running afterwards'

/** How many clients start containers at a time. */
const atOnce = 4
/** How long tasks may take to be attached; those whose shims were stopped may never be. Both in ms. */
const [settleMs, returnMs] = [120_000, 10_000] as const

/** Containers that run, by what becomes of their shims. */
interface Fleet {
  readonly untouched: readonly string[]
  readonly stopped: readonly string[]
  readonly killed: readonly string[]
}

/**
 * kill -9 and start of the daemon, while a tenth of the containers have a shim that is stopped, and
 * another tenth one that is killed meanwhile. In wharfd those have shims of their own, and the others
 * share the host. "All attached" is when each task whose shim was left alone has told that it runs.
 */
export const restart: Row = {
  name: 'restart',
  figures: [
    { name: answer, unit: 'ms', better: 'lower' },
    { name: attached, unit: 'ms', better: 'lower' },
    { name: kept, unit: '', better: 'higher' },
  ],
  setup: async (subject: Subject): Promise<Prepared> => {
    const ids = Array.from({ length: subject.quick ? 20 : 200 }, (_, n) => `restart-${n}`)
    const tenth = ids.length / 10
    const fleet = {
      stopped: ids.slice(0, tenth),
      killed: ids.slice(tenth, 2 * tenth),
      untouched: ids.slice(2 * tenth),
    }
    await using scope = new AsyncDisposableStack()
    scope.defer(async () => await removeAll(subject, ids))
    await startAll(subject, fleet)
    const owned = scope.move()
    return {
      measure: async () => {
        const samples = await measure(subject, fleet)
        await startAgain(subject, fleet)
        return samples
      },
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    }
  },
}

async function startAll(subject: Subject, fleet: Fleet): Promise<void> {
  const { ctr, image, contender } = subject
  const run = async (id: string): Promise<void> => {
    await ctr('run', '--detach', image, id, 'sleep', '100000')
  }
  const single = [...fleet.stopped, ...fleet.killed]
  if (contender.containerd) await eachOf(single, run)
  else await withIsolation(subject, async () => await eachOf(single, run))
  await eachOf(fleet.untouched, run)
}

/** Containers that are started by `body` share no host. */
async function withIsolation({ daemon }: Subject, body: () => Promise<void>): Promise<void> {
  const file = join(daemon.dir, 'config.toml')
  const before = await readFile(file, 'utf8')
  const table = '[plugins."io.containerd.runtime.v2.task"]\nisolation = "container"\n'
  await writeFile(file, `${before}\n${table}`)
  await daemon.stop()
  await daemon.start()
  await body()
  await writeFile(file, before)
  await daemon.stop()
  await daemon.start()
}

async function measure(subject: Subject, fleet: Fleet): Promise<Samples> {
  const { daemon } = subject
  const ids = [...fleet.untouched, ...fleet.stopped, ...fleet.killed]
  const stopped = fleet.stopped.map((id) => shimOf(subject, id))
  const killed = fleet.killed.map((id) => shimOf(subject, id))
  for (const pid of stopped) process.kill(pid, 'SIGSTOP')
  try {
    await daemon.stop('SIGKILL')
    for (const pid of killed) process.kill(pid, 'SIGKILL')
    const began = performance.now()
    const since = (): number => performance.now() - began
    const booted = daemon.start()
    const first = firstAnswer(daemon.address).then(since)
    const all = first.then(async () => await attach(subject, fleet.untouched)).then(since)
    const [firstMs, allMs] = await Promise.all([first, all, booted])
    for (const pid of stopped) process.kill(pid, 'SIGCONT')
    await using connection = await open(subject)
    await attachAgain(connection, fleet.stopped, returnMs).catch(() => {})
    const running = await Promise.all(ids.map(async (id) => await isRunning(connection, id)))
    const share = running.filter(Boolean).length
    return { [answer]: firstMs, [attached]: allMs, [kept]: share }
  } finally {
    for (const pid of stopped) process.kill(pid, 'SIGCONT')
  }
}

const open = async ({ daemon, namespace }: Subject): Promise<Connection> =>
  await connectGrpc(daemon.address, { metadata: { 'containerd-namespace': namespace } })

async function attach(subject: Subject, ids: readonly string[]): Promise<void> {
  await using connection = await open(subject)
  await attachAgain(connection, ids, settleMs)
}

/** Waits until each of them has told that it runs. */
async function attachAgain(
  connection: Connection,
  ids: readonly string[],
  ms: number,
): Promise<void> {
  const deadline = AbortSignal.timeout(ms)
  await Promise.all(
    ids.map(async (id) => {
      while (!(await isRunning(connection, id))) await sleep(5, undefined, { signal: deadline })
    }),
  )
}

async function isRunning(connection: Connection, id: string): Promise<boolean> {
  try {
    const { process } = await connection.client(Tasks).get({ containerId: id })
    return process?.status === Status.RUNNING
  } catch {
    // Lost, or not found yet.
    return false
  }
}

/** Whatever has lost its shim has one of its own again in the next round. */
async function startAgain(subject: Subject, fleet: Fleet): Promise<void> {
  await using connection = await open(subject)
  const lostOf = async (ids: readonly string[]): Promise<string[]> => {
    const running = await Promise.all(ids.map(async (id) => await isRunning(connection, id)))
    return ids.filter((_, n) => !running[n])
  }
  // Where it was adopted, a killed one has moved to the host that others share.
  const single = [...(await lostOf(fleet.stopped)), ...fleet.killed]
  const untouched = await lostOf(fleet.untouched)
  const start = async (id: string): Promise<void> => {
    await subject.ctr('task', 'delete', '--force', id).catch(() => {})
    await subject.ctr('task', 'start', '--detach', id)
  }
  if (subject.contender.containerd) await eachOf(single, start)
  else await withIsolation(subject, async () => await eachOf(single, start))
  await eachOf(untouched, start)
}

async function removeAll({ ctr }: Subject, ids: readonly string[]): Promise<void> {
  await eachOf(ids, async (id) => {
    await ctr('task', 'delete', '--force', id).catch(() => {})
    await ctr('container', 'delete', id).catch(() => {})
  })
}

/** Some at a time. */
async function eachOf(ids: readonly string[], work: (id: string) => Promise<void>): Promise<void> {
  const rest = ids.values()
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (const id of rest) await work(id)
    }),
  )
}
