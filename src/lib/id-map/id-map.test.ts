import assert from 'node:assert/strict'
import { test } from 'node:test'

import { codeOf } from '#lib/errors/errors.ts'

import { formatIdMap, idOutside, parseIdMap } from './id-map.ts'

test('ranges are read, and written as the kernel wants them', () => {
  const map = parseIdMap('0:1000:10,10:4000000000:2')
  assert.deepEqual(map, [
    { inside: 0, outside: 1000, length: 10 },
    { inside: 10, outside: 4_000_000_000, length: 2 },
  ])
  assert.equal(formatIdMap(map), '0 1000 10\n10 4000000000 2\n')
})

test('an id inside is one outside, or none', () => {
  const map = parseIdMap('5:1000:10,0:77:1')
  assert.deepEqual(
    [5, 14, 0].map((id) => idOutside(map, id)),
    [1000, 1009, 77],
  )
  for (const id of [1, 4, 15]) {
    assert.throws(() => idOutside(map, id), { message: /container ID \d+ cannot be mapped/ })
  }
})

test('what is no range is refused', () => {
  for (const text of [
    '',
    '0',
    '0:1',
    '0:1:2:3',
    '-1:0:1',
    '0:0x10:1',
    ' 0:1:2',
    '0:1:2,',
    '0:4294967295:1',
    '4294967295:0:1',
    '0:4294967294:2',
    '0:1:99999999999',
  ]) {
    assert.throws(
      () => parseIdMap(text),
      (err) => codeOf(err) === 'invalid_argument',
      text,
    )
  }
})
