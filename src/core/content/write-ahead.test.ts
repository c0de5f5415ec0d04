import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { WriteAhead } from './write-ahead.ts'

const turn = async (): Promise<void> => await new Promise((resolve) => void setImmediate(resolve))
const chunk = (n: number): Uint8Array => new Uint8Array(10).fill(n)

void suite('writes under way', () => {
  void test('are as many as there may be, and are told of in their order', async () => {
    const told: number[] = []
    const ahead = new WriteAhead(20, ([n]) => void told.push(n ?? 0))
    const writes = [1, 2, 3].map(() => Promise.withResolvers<void>())
    const added: number[] = []
    const all = (async () => {
      for (const [n, { promise }] of writes.entries()) {
        await ahead.add(chunk(n), promise)
        added.push(n)
      }
    })()
    await turn()
    assert.deepEqual(added, [0, 1])
    writes[1]?.resolve()
    await turn()
    assert.deepEqual([added, told], [[0, 1], []])
    writes[0]?.resolve()
    await all
    assert.deepEqual([added, told], [[0, 1, 2], [0]])
    writes[2]?.resolve()
    await ahead.done()
    assert.deepEqual(told, [0, 1, 2])
  })

  void test('fail whoever goes on', async () => {
    const ahead = new WriteAhead(100)
    const [bad, slow] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    await ahead.add(chunk(1), bad.promise)
    await ahead.add(chunk(2), slow.promise)
    ahead.check()
    bad.reject(new Error('full'))
    await turn()
    assert.throws(() => ahead.check(), /full/)
    await assert.rejects(ahead.done(), /full/)
    let settled = false
    const settling = ahead.settled().then(() => void (settled = true))
    await turn()
    assert.equal(settled, false)
    slow.resolve()
    await settling
  })
})
