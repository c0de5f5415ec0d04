import assert from 'node:assert/strict'
import { test } from 'node:test'

import { formatTraceParent, parseTraceParent } from './trace-parent.ts'

const [traceId, spanId] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7']

test('a header is read as it was written', () => {
  for (const sampled of [true, false]) {
    const parent = { traceId, spanId, sampled }
    assert.deepEqual(parseTraceParent(formatTraceParent(parent)), parent)
  }
})

test('a later version may have more, and other flags', () => {
  const parsed = parseTraceParent(`01-${traceId}-${spanId}-03-more`)
  assert.deepEqual(parsed, { traceId, spanId, sampled: true })
})

test('what is no header is no parent', () => {
  assert.equal(parseTraceParent(undefined), undefined)
  const bad = [
    '',
    'x',
    `00-${traceId}-${spanId}`,
    `00-${traceId}-${spanId}-01-more`,
    `ff-${traceId}-${spanId}-01`,
    `00-${'0'.repeat(32)}-${spanId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
  ]
  for (const text of bad) assert.equal(parseTraceParent(text), undefined, text)
})
