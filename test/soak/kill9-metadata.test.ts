import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Client } from '#client/client.ts'
import { root } from '#testing/root.ts'
import { random } from '#testing/random.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

import { Facts } from './facts.ts'
import { type Records, recordsOf } from './records.ts'
import { World } from './world.ts'

const clients = 8
/** Names of each kind that a client works with: few, so that they come and go. */
const names = 12
const collector = '[plugins."io.containerd.gc.v1.scheduler"]\nschedule_delay = "0s"\n'

void suite('a daemon that is killed while clients write', () => {
  void test('has what it acknowledged', { timeout: soakMs(120_000) }, async (t) => {
    if (!root(t)) return
    await using world = await World.open('metadata', collector)
    const facts = new Facts()
    try {
      await soak('kill9-metadata', 3, (cycle) => oneCycle(world, facts, cycle))
    } catch (err) {
      t.diagnostic(await world.describe())
      throw err
    }
  })
})

async function oneCycle(world: World, facts: Facts, cycle: Cycle): Promise<void> {
  const writers = Array.from({ length: clients }, async (_, n) => {
    const client = await world.newClient()
    const below = random(cycle.seed * clients + n)
    const written = write(client, facts, below, `w${n}`)
    return { client, written }
  })
  const opened = await Promise.all(writers)
  await sleep(50 + cycle.below(700))
  await world.kill()
  for (const { client, written } of opened) {
    cycle.count('acknowledged', await written)
    await client[Symbol.asyncDispose]()
  }
  await world.restart()
  cycle.count('killed daemon')

  const ctx = world.client.context({ signal: AbortSignal.timeout(60_000) })
  const kinds = recordsOf(world.client)
  const records = await facts.check(async (key) => {
    const { kind, name } = parseKey(key)
    return await recordsFor(kinds, kind).read(ctx, name)
  })
  cycle.count('compared', records)
}

/** Changes records of its own until the daemon is gone. @returns how many changes it acknowledged. */
async function write(
  client: Client,
  facts: Facts,
  below: (limit: number) => number,
  prefix: string,
): Promise<number> {
  const ctx = client.context({ signal: AbortSignal.timeout(60_000) })
  const kinds = recordsOf(client)
  const kindNames = Object.keys(kinds)
  for (let acknowledged = 0; ; acknowledged++) {
    const kind = kindNames[below(kindNames.length)] ?? ''
    const records = recordsFor(kinds, kind)
    const name = `${prefix}-${below(names)}`
    const key = `${kind} ${name}`
    const now = facts.now(key)
    const value = String(below(1000))
    try {
      if (!now) {
        const labels = { first: value }
        await facts.change(key, labels, () => records.create(ctx, name, labels))
      } else if (records.label && below(2) === 0) {
        const label = records.label.bind(records)
        await facts.change(key, { ...now, more: value }, () => label(ctx, name, 'more', value))
      } else await facts.change(key, undefined, () => records.delete(ctx, name))
    } catch (err) {
      if (!client.connection.closed.aborted) throw new Error(`change ${key}`, { cause: err })
      return acknowledged
    }
  }
}

function parseKey(key: string): { kind: string; name: string } {
  const [kind = '', name = ''] = key.split(' ')
  return { kind, name }
}

function recordsFor(kinds: Readonly<Record<string, Records>>, kind: string): Records {
  const records = kinds[kind]
  assert.ok(records, kind)
  return records
}
