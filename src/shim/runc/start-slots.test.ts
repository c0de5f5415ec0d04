import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { CommandTimeout } from './command-error.ts'
import { StartSlots } from './start-slots.ts'

void suite('places for starts', () => {
  void test('so many are worked on at a time, in order', async () => {
    const slots = new StartSlots(2, 60_000)
    const order: string[] = []
    let most = 0
    let now = 0
    const start = async (name: string): Promise<void> => {
      using _ = await slots.enter()
      order.push(name)
      now += 1
      most = Math.max(most, now)
      await new Promise(setImmediate)
      now -= 1
    }
    const names = Array.from({ length: 20 }, (_, n) => `${n}`)
    await Promise.all(names.map(start))
    assert.equal(most, 2)
    assert.deepEqual(order, names)
  })

  void test('one that is stuck gives its place up, once', async () => {
    const slots = new StartSlots(1, 20)
    const stuck = await slots.enter()
    const next = await slots.enter()
    stuck[Symbol.dispose]()
    let entered = false
    const third = slots.enter().then((slot) => {
      entered = true
      return slot
    })
    await new Promise(setImmediate)
    assert.equal(entered, false)
    next[Symbol.dispose]()
    const slot = await third
    slot[Symbol.dispose]()
    slot[Symbol.dispose]()
    const again = await slots.enter()
    again[Symbol.dispose]()
  })

  void test("who has no time left does not wait, and takes nobody's place", async () => {
    const slots = new StartSlots(1, 60_000)
    const first = await slots.enter()
    const stop = new AbortController()
    const left = slots.enter(stop.signal)
    const staying = slots.enter()
    stop.abort()
    await assert.rejects(left, CommandTimeout)
    first[Symbol.dispose]()
    const slot = await staying
    slot[Symbol.dispose]()
  })
})
