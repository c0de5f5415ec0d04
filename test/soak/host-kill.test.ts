import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { busyboxImage } from '#testing/image.ts'
import { root } from '#testing/root.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

import { deleteAll } from './delete-all.ts'
import { assertNothingLeft, shimHosts } from './leaks.ts'
import { busybox, stepMs, World } from './world.ts'

/** How many containers one host has: some in `npm test`, fifty when there is time. */
const containers = Number(process.env['SOAK'] ?? 1) > 1 ? 50 : 8
const settleMs = 30_000

void suite('a shim host that is killed with all its containers running', () => {
  void test('is replaced by one that has them all, with their streams and their exits', {
    timeout: soakMs(240_000),
  }, async (t) => {
    if (!root(t)) return
    await using world = await World.open('host-kill')
    try {
      const file = await world.archive(busyboxImage(busybox))
      const { code, stderr } = await world.ctr('image', 'import', file)
      assert.equal(code, 0, stderr)
      await soak('host-kill', 1, async (cycle) => await oneCycle(world, cycle))
    } catch (err) {
      t.diagnostic(await world.describe())
      throw err
    }
  })
})

interface Talker {
  readonly id: string
  /** It talks to a terminal, which only the host writes on from. */
  readonly terminal: boolean
  readonly status: number
  said: string
}

/** Says a number from time to time until it is told to end, then ends with a status of its own. */
const talk = (status: number): string[] => [
  'sh',
  '-c',
  `trap 'exit ${status}' TERM; n=0; while true; do echo $n; n=$((n + 1)); sleep 0.1; done`,
]

async function oneCycle(world: World, { number, below, count }: Cycle): Promise<void> {
  const signal = AbortSignal.timeout(2 * stepMs)
  const { client } = world
  const talkers = Array.from(
    { length: containers },
    (_, n): Talker => ({ id: `h${number}-${n}`, terminal: n % 4 === 3, status: n + 1, said: '' }),
  )
  await using scope = new AsyncDisposableStack()
  const tasks = await Promise.all(
    talkers.map(async (talker) => {
      const { id, status, terminal } = talker
      const container = await client.containers.create(id, {
        image: busybox,
        args: talk(status),
        terminal,
        signal,
      })
      container.keep()
      const stdout = (chunk: Uint8Array): void => {
        talker.said += Buffer.from(chunk).toString()
      }
      return scope.use(await container.start({ stdout, signal }))
    }),
  )
  const waiting = tasks.map(async (task) => await task.wait({ signal }))
  const kills = 1 + below(3)
  for (let n = 0; n < kills; n++) {
    const hosts = shimHosts(world)
    for (const pid of hosts) process.kill(pid, 'SIGKILL')
    count('hosts killed', hosts.length)
    await sleep(below(400))
    await until('a host serves all containers', async () => {
      const states = await Promise.allSettled(tasks.map((task) => task.state({ signal })))
      return states.every((each) => each.status === 'fulfilled' && each.value.status === 'running')
    })
  }
  const heard = talkers.map(({ said }) => said.length)
  await until('every container goes on talking', () =>
    Promise.resolve(talkers.every(({ said }, n) => said.length > (heard[n] ?? 0))),
  )
  await Promise.all(tasks.map(async (task) => await task.kill('SIGTERM', { signal })))
  const exits = await Promise.all(waiting)
  const told = exits.map(({ status }) => status)
  // 255 where the kernel does not tell how a process ended that is nobody's child here.
  assert.deepEqual(
    told.filter((status, n) => status !== talkers[n]?.status && status !== 255),
    [],
  )
  count('exits seen', told.length)
  count('statuses told', told.filter((status) => status !== 255).length)
  for (const talker of talkers) assertUncut(talker)
  await scope.disposeAsync()
  await deleteAll(world)
  await assertNothingLeft(world)
}

/** Every line is there, in its order. */
function assertUncut({ id, said }: Talker): void {
  const numbers = said.split('\n').filter(Boolean).map(Number)
  assert.deepEqual(
    numbers,
    numbers.map((_, n) => n),
    `output of ${id}`,
  )
}

async function until(what: string, is: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + settleMs
  while (!(await is())) {
    if (Date.now() > deadline) throw new Error(`still not so: ${what}`)
    await sleep(50)
  }
}
