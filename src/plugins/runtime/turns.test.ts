import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { Turns } from './turns.ts'

const open = new AbortController().signal
const turn = async (): Promise<void> => await new Promise((resolve) => void setImmediate(resolve))

void suite('turns', () => {
  void test('nothing begins before the start; then one after the other, and others in between', async () => {
    const start = Promise.withResolvers<void>()
    const turns = new Turns(start.promise)
    const seen: string[] = []
    const all = ['a', 'b', 'c'].map(async (name) => {
      await turns.next(open)
      seen.push(name)
      setImmediate(() => seen.push('call'))
    })
    await turn()
    assert.equal(seen.length, 0)
    start.resolve()
    await Promise.all(all)
    await turn()
    assert.deepEqual(
      seen.filter((name) => name !== 'call'),
      ['a', 'b', 'c'],
    )
    assert.ok(seen.indexOf('call') < seen.indexOf('c'), seen.join(' '))
  })

  void test('who goes is not waited for', async () => {
    const turns = new Turns(new Promise(() => {}))
    await assert.rejects(turns.next(AbortSignal.abort(new Error('stop'))), /stop/)
  })
})
