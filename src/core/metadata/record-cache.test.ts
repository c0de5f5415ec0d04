import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { RecordCache } from './record-cache.ts'

void suite('record cache', () => {
  void test('a record is read once at a revision, and anew at the next', () => {
    const cache = new RecordCache<string>(10)
    assert.equal(
      cache.get(1, 'a', () => 'one'),
      'one',
    )
    assert.equal(
      cache.get(1, 'a', () => 'not read'),
      'one',
    )
    assert.equal(
      cache.get(2, 'a', () => 'two'),
      'two',
    )
  })

  void test('what could not be read is read again', () => {
    const cache = new RecordCache<string>(10)
    assert.throws(() =>
      cache.get(1, 'a', () => {
        throw new Error('gone')
      }),
    )
    assert.equal(
      cache.get(1, 'a', () => 'here'),
      'here',
    )
  })

  void test('it keeps no more records than it may', () => {
    const cache = new RecordCache<number>(2)
    let reads = 0
    const read = (): number => ++reads
    for (const key of ['a', 'b', 'c', 'a']) cache.get(1, key, read)
    assert.equal(reads, 4)
  })
})
