import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Counter, type Family, Histogram, MetricSet } from './metrics.ts'

const samplesOf = (family: Family) => [...family.samples()]

test('a counter has one number for each set of label values', () => {
  const calls = new Counter({ name: 'calls_total', help: 'Calls.', labels: ['method', 'code'] })
  const ok = calls.with('Get', 'OK')
  ok.value++
  calls.with('Get', 'OK').value++
  calls.with('List', 'OK')
  assert.deepEqual(samplesOf(calls), [
    { labels: { method: 'Get', code: 'OK' }, value: 2 },
    { labels: { method: 'List', code: 'OK' }, value: 0 },
  ])
})

test('a histogram counts up to each bound, the bound included', () => {
  const took = new Histogram({ name: 'took_seconds', help: 'Time.', buckets: [1, 2] })
  for (const value of [0.5, 1, 1.5, 9]) took.with().observe(value)
  assert.deepEqual(
    samplesOf(took).map(({ name, labels, value }) => [name, labels['le'], value]),
    [
      ['took_seconds_bucket', '1', 2],
      ['took_seconds_bucket', '2', 3],
      ['took_seconds_bucket', '+Inf', 4],
      ['took_seconds_sum', undefined, 12],
      ['took_seconds_count', undefined, 4],
    ],
  )
})

test('a set shows families until they are withdrawn', () => {
  const set = new MetricSet()
  const family = new Counter({ name: 'a', help: '' })
  {
    using _shown = set.add(family)
    assert.deepEqual(set.families(), [family])
  }
  assert.deepEqual(set.families(), [])
})

test('collectors are asked each time, beside what is kept', async () => {
  const set = new MetricSet()
  const family = new Counter({ name: 'a', help: '' })
  let asked = 0
  using _shown = set.add(family)
  {
    using _asked = set.collect(async () => {
      asked++
      return await Promise.resolve([new Counter({ name: `b${asked}`, help: '' })])
    })
    const names = async () => (await set.gather()).map(({ name }) => name)
    assert.deepEqual(
      [await names(), await names()],
      [
        ['a', 'b1'],
        ['a', 'b2'],
      ],
    )
  }
  assert.deepEqual(await set.gather(), [family])
})
