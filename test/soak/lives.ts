import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'

import { hasCode } from '#lib/errors/errors.ts'

import { hasEnded } from './leaks.ts'
import { busybox, stepMs, type World } from './world.ts'

/** The life of one container, and how far its user knows it to have come. */
export interface Life {
  readonly id: string
  /** `unknown` while an answer is outstanding. */
  record: 'unknown' | 'there' | 'gone'
  /** A `ctr` that works on it, and may be killed. */
  ctr?: ChildProcess | undefined
  /** Somebody has killed what this life depends on: whatever fails then was to be expected. */
  disturbed: boolean
  failure?: unknown
}

type Below = (limit: number) => number

/** Ways to live, from creation to deletion. */
const ways = [
  liveTyped,
  liveTyped,
  liveTyped,
  liveTyped,
  runWithCtr,
  startWithCtr,
  joinNetwork,
] as const

/** Starts a life of any kind. It ends by itself, or by what is done to it. */
export async function live(world: World, life: Life, below: Below): Promise<void> {
  const way = ways[below(ways.length)] ?? liveTyped
  try {
    await way(world, life, below)
  } catch (err) {
    life.failure = err
  }
}

/** Fails unless the daemon still knows what it has acknowledged. */
export async function assertKept(world: World, life: Life): Promise<void> {
  if (life.record === 'unknown') return
  const there = await world.client.containers
    .get(life.id, { signal: AbortSignal.timeout(stepMs) })
    .then(
      () => 'there',
      (err: unknown) => {
        if (!hasCode(err, 'not_found')) throw err
        return 'gone'
      },
    )
  assert.equal(there, life.record, `container ${life.id}`)
}

async function liveTyped(world: World, life: Life, below: Below): Promise<void> {
  const { client } = world
  const signal = AbortSignal.timeout(stepMs)
  const args = ['sh', '-c', `echo hello; sleep ${below(4) === 0 ? 0 : 1000}`]
  const container = await client.containers.create(life.id, { image: busybox, args, signal })
  container.keep()
  life.record = 'there'
  {
    await using task = await container.start({ stdout: () => {}, signal })
    const execs = Array.from({ length: below(4) }, async (_, n) => {
      const chunks: Uint8Array[] = []
      const stdout = (chunk: Uint8Array): void => void chunks.push(chunk)
      const { status } = await task.exec({
        args: ['sh', '-c', `echo ${n}; exit ${n}`],
        stdout,
        signal,
      })
      // The container may have ended, and its processes with it.
      if (status !== 137) assert.deepEqual([status, String(Buffer.concat(chunks))], [n, `${n}\n`])
    })
    const ended = await Promise.allSettled(execs)
    const { status } = await task.state({ signal })
    // Its end may not have been told of yet.
    const running = status === 'running' && !hasEnded(task.pid)
    for (const each of ended) if (each.status === 'rejected' && running) throw each.reason
    if (below(2) === 0 && status === 'running') await killed(task.kill('SIGKILL', { signal }))
  }
  life.record = 'unknown'
  await container.delete({ signal })
  life.record = 'gone'
}

/** Killing what has ended meanwhile is no failure. */
async function killed(killing: Promise<void>): Promise<void> {
  await killing.catch((err: unknown) => {
    if (!hasCode(err, 'not_found')) throw err
  })
}

/** `ctr run --rm`, to the end. It says nothing when it could not delete the container. */
async function runWithCtr(world: World, life: Life): Promise<void> {
  await ctr(
    world,
    life,
    'run',
    '--rm',
    '--fifo-dir',
    world.fifos.ctr,
    busybox,
    life.id,
    'echo',
    'hi',
  )
}

/** `ctr run -d`, an exec, `ctr task kill`, `ctr task delete`, `ctr container delete`. */
async function startWithCtr(world: World, life: Life, below: Below): Promise<void> {
  const { ctr: dir } = world.fifos
  await ctr(world, life, 'run', '-d', '--fifo-dir', dir, busybox, life.id, 'sleep', '1000')
  life.record = 'there'
  for (let n = below(3); n > 0; n--) {
    await ctr(world, life, 'task', 'exec', '--fifo-dir', dir, '--exec-id', `e${n}`, life.id, 'true')
  }
  await ctr(world, life, 'task', 'delete', '--force', life.id)
  life.record = 'unknown'
  await ctr(world, life, 'container', 'delete', life.id)
  life.record = 'gone'
}

/** `ctr run --rm` in a network namespace that others made, and take away when it has ended. */
async function joinNetwork(world: World, life: Life): Promise<void> {
  const { ctr: dir } = world.fifos
  using network = await world.network(life.id)
  const join = ['--with-ns', `network:${network.path}`]
  await ctr(world, life, 'run', '--rm', ...join, '--fifo-dir', dir, busybox, life.id, 'true')
}

async function ctr(world: World, life: Life, ...args: readonly string[]): Promise<void> {
  const { process, ended } = world.startCtr(...args)
  life.ctr = process
  const { code, stdout, stderr } = await ended
  life.ctr = undefined
  assert.equal(code, 0, `ctr ${args.join(' ')}: ${stdout}${stderr}`)
}
