import assert from 'node:assert/strict'
import { test } from 'node:test'

import { giveBack } from './give-back.ts'

test('bytes that are all of a buffer are freed, and a part of one is left alone', () => {
  const whole = new Uint8Array(8)
  const part = new Uint8Array(8).subarray(1)
  const pooled = Buffer.from('text')
  for (const bytes of [whole, part, pooled]) giveBack(bytes)
  assert.deepEqual([whole.length, part.length, pooled.toString()], [0, 7, 'text'])
})
