import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { Slots } from './slots.ts'

suite('slots', () => {
  void test('bound how many run, and keep the order of arrival', async () => {
    const slots = new Slots(2)
    let running = 0
    let most = 0
    const order: number[] = []
    const task = async (n: number): Promise<void> => {
      order.push(n)
      most = Math.max(most, ++running)
      await sleep(2)
      running--
    }
    await Promise.all([0, 1, 2, 3, 4].map((n) => slots.run(() => task(n))))
    assert.equal(most, 2)
    assert.deepEqual(order, [0, 1, 2, 3, 4])
  })

  void test('are given back by tasks that fail, and by those who stop waiting', async () => {
    const slots = new Slots(1)
    const failing = slots.run(async () => {
      await sleep(5)
      throw new Error('x')
    })
    const waiting = slots.run(() => Promise.resolve(1), AbortSignal.timeout(1))
    await Promise.all([
      assert.rejects(failing, { message: 'x' }),
      assert.rejects(waiting, { name: 'TimeoutError' }),
    ])
    assert.equal(await slots.run(() => Promise.resolve(2)), 2)
  })
})
