import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import type { ProcessState } from '#core/runtime/runtime.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'
import { root } from '#testing/root.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

import {
  type Bench,
  assertNothingLeft,
  openBench,
  processesWith,
  processOf,
  until,
} from './runtime-bench.ts'

/*
 * The shim host is killed before or after each command of the OCI runtime in turn. Whoever asks
 * again gets through, and in the end nothing is left.
 */

const moments = ['before', 'after'] as const
const commands = ['create', 'start', 'exec', 'kill', 'delete'] as const
const options = { builtinShim: true, runtime: 'io.containerd.runc.v2', hangs: true }
const nowhere = { stdin: '', stdout: '', stderr: '', terminal: false }

void suite('a shim host that is killed between two steps', () => {
  void test('keeps nobody from going on', { timeout: soakMs(120_000) }, async (t) => {
    if (!root(t)) return
    await using bench = await openBench(options)
    try {
      await soak('host-steps', 4, async (cycle) => await oneLife(bench, cycle))
    } catch (err) {
      t.diagnostic(bench.logs.join('\n'))
      throw err
    }
  })
})

/** What has been answered when the host is killed; what comes next is asked at once. */
const gaps = ['create', 'start', 'exec', 'kill', 'delete'] as const

void suite('a shim host that is killed between an answer and the next question', () => {
  for (const gap of gaps) {
    void test(`after ${gap}, keeps nobody from going on`, { timeout: 120_000 }, async (t) => {
      if (!root(t)) return
      await using bench = await openBench(options)
      try {
        await lifeWithGap(bench, gap)
        await lifeWithGap(bench, undefined)
      } catch (err) {
        t.diagnostic(bench.logs.join('\n'))
        throw err
      }
    })
  }
})

async function lifeWithGap(bench: Bench, gap: (typeof gaps)[number] | undefined): Promise<void> {
  const { ctx } = bench
  const answered = (what: string): void => {
    if (what !== gap) return
    for (const pid of processesWith('containerd-shim', bench.dir, 'serve'))
      process.kill(pid, 'SIGKILL')
  }
  await step(bench, 'a', 'created', async () => void (await bench.create('a', ['sleep', '1000'])))
  answered('create')
  await step(bench, 'a', 'running', async (task) => void (await task?.start(ctx)))
  answered('start')
  await runOnce(bench, 'a')
  answered('exec')
  let killed = false
  await step(bench, 'a', 'stopped', async (task) => {
    if (!task) return true
    if (!killed) await task.kill(ctx, { signal: 9 })
    killed = true
    answered('kill')
    await task.wait(ctx)
    return false
  })
  await step(bench, 'a', undefined, async () => void (await bench.manager.delete(ctx, 'a')))
  answered('delete')
  await assertNothingLeft(bench, 'a')
}

async function oneLife(bench: Bench, { number, below, count }: Cycle): Promise<void> {
  const { ctx } = bench
  const id = `c${number}`
  const when = moments[below(moments.length)] ?? 'before'
  const command = commands[below(commands.length)] ?? 'create'
  bench.killHost(when, command)

  await step(bench, id, 'created', async () => void (await bench.create(id, ['sleep', '1000'])))
  await step(bench, id, 'running', async (task) => void (await task?.start(ctx)))
  await runOnce(bench, id)
  await step(bench, id, 'stopped', async (task) => {
    await task?.kill(ctx, { signal: 9 })
    await task?.wait(ctx)
    return task === undefined
  })
  await step(bench, id, undefined, async () => void (await bench.manager.delete(ctx, id)))
  await assertNothingLeft(bench, id)
  count(`killed ${when} ${command}`)
}

type Found = Awaited<ReturnType<Bench['manager']['get']>> | undefined

/** Asks until the task is as it shall be: once, and once more for each failure, of which one is due. */
async function step(
  bench: Bench,
  id: string,
  goal: ProcessState['status'] | undefined,
  ask: (task: Found) => Promise<boolean | void>,
): Promise<void> {
  for (let failures = 0; (await statusOf(bench, id)) !== goal; ) {
    try {
      // A container that ended while no host looked is gone with its end told.
      if (await ask(await find(bench, id))) return
    } catch (err) {
      failures += 1
      assert.ok(failures <= 2, `${id} does not become ${goal}: ${describe(err)}`)
    }
  }
}

/** An exec gets through, at the second attempt at the latest. */
async function runOnce(bench: Bench, id: string): Promise<void> {
  const { ctx } = bench
  for (let attempt = 1; ; attempt += 1) {
    const execId = `e${attempt}`
    try {
      const task = await find(bench, id)
      assert.ok(task)
      await task.exec(ctx, execId, { spec: processOf(['true']), ...nowhere })
      await task.start(ctx, execId)
      assert.ok([0, 255].includes((await task.wait(ctx, execId)).status))
      return
    } catch (err) {
      assert.ok(attempt <= 2, `${execId} of ${id}: ${describe(err)}`)
      await until('the task is served', async () => (await statusOf(bench, id)) === 'running')
    }
  }
}

async function find(bench: Bench, id: string): Promise<Found> {
  try {
    return await bench.manager.get(bench.ctx, id)
  } catch (err) {
    if (hasCode(err, 'not_found')) return undefined
    throw err
  }
}

/** Waits for a shim that is just being replaced. */
async function statusOf(bench: Bench, id: string): Promise<ProcessState['status'] | undefined> {
  let status: ProcessState['status'] | undefined
  await until(`the state of ${id} is known`, async () => {
    const task = await find(bench, id)
    if (!task) return true
    try {
      status = (await task.state(bench.ctx)).status
      return true
    } catch (err) {
      if (hasCode(err, 'not_found') || hasCode(err, 'unavailable')) return false
      throw err
    }
  })
  return status
}
