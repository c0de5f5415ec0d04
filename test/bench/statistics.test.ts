import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { quantile, ratio, rotate } from './statistics.ts'

suite('bench statistics', () => {
  test('the median of an odd number of samples is the one in the middle', () => {
    assert.equal(quantile([30, 10, 20], 0.5), 20)
  })

  test('the median of an even number of samples is half way between the two in the middle', () => {
    assert.equal(quantile([4, 1, 3, 2], 0.5), 2.5)
  })

  test('quantiles sort by number, and the first and the last are the extremes', () => {
    const samples = [100, 9, 20]
    assert.deepEqual([quantile(samples, 0), quantile(samples, 1)], [9, 100])
    assert.deepEqual(samples, [100, 9, 20])
  })

  test('the 99th percentile of 101 samples is the last but one', () => {
    const samples = Array.from({ length: 101 }, (_, n) => n)
    assert.equal(quantile(samples, 0.99), 99)
  })

  test('without samples there is no quantile and no ratio', () => {
    assert.equal(quantile([], 0.5), undefined)
    assert.equal(ratio(1, undefined), undefined)
    assert.equal(ratio(undefined, 1), undefined)
    assert.equal(ratio(1, 0), undefined)
  })

  test('whoever is first in a round is last in the next', () => {
    assert.deepEqual(rotate(['a', 'b', 'c'], 0), ['a', 'b', 'c'])
    assert.deepEqual(rotate(['a', 'b', 'c'], 1), ['b', 'c', 'a'])
    assert.deepEqual(rotate(['a', 'b', 'c'], 5), ['c', 'a', 'b'])
    assert.deepEqual(rotate([], 3), [])
  })
})
