import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { random } from '#testing/random.ts'

import { type Sample, pssOf, trendOf } from './trend.ts'

/** Memory that grows by `slope` kB for each thing done, with garbage that comes and goes. */
function samples(slope: number): Sample[] {
  const below = random(7)
  return Array.from({ length: 400 }, (_, n) => ({
    done: 10 * n,
    pssKb: 80_000 + slope * 10 * n + below(9000) + (n < 60 ? 100 * n : 6000),
  }))
}

void suite('the trend of memory', () => {
  void test('is that of what stays, not of the garbage or the warm-up', () => {
    for (const slope of [0, 0.5, 20]) {
      const trend = trendOf(samples(slope))
      assert.ok(trend)
      const off = Math.abs(trend.slope - 1000 * slope)
      assert.ok(off <= trend.bound, `${slope}: ${JSON.stringify(trend)}`)
      assert.ok(trend.bound < 1000, `${slope}: ${JSON.stringify(trend)}`)
    }
  })

  void test('is not told of a few samples', () => {
    assert.equal(trendOf(samples(1).slice(0, 20)), undefined)
  })

  void test('is of a process that lives', () => {
    assert.ok(Number(pssOf(process.pid)) > 1000)
    assert.equal(pssOf(2 ** 22 + 1), undefined)
  })
})
