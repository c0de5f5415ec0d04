import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { Semaphore } from './semaphore.ts'

void suite('Semaphore', () => {
  void test('as many as there are places are in at once, in order of arrival', async () => {
    const semaphore = new Semaphore(2)
    const order: number[] = []
    let inside = 0
    let most = 0
    const work = async (name: number): Promise<void> => {
      using _place = await semaphore.acquire()
      order.push(name)
      most = Math.max(most, ++inside)
      await new Promise(setImmediate)
      inside--
    }
    await Promise.all([0, 1, 2, 3, 4].map(work))
    assert.equal(most, 2)
    assert.deepEqual(order, [0, 1, 2, 3, 4])
  })

  void test('an abandoned wait takes no place, and lets the next one wait', async () => {
    const semaphore = new Semaphore(1)
    const held = await semaphore.acquire()
    await assert.rejects(semaphore.acquire({ signal: AbortSignal.timeout(1) }))
    const next = semaphore.acquire()
    held[Symbol.dispose]()
    using _place = await next
  })
})
