import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'

import { parseReport } from './h2load.ts'
import { linesOf } from './results.ts'
import type { Figure, Samples } from './row.ts'
import { formatNumber, formatTable } from './table.ts'

const run: Figure = { name: 'run', unit: 'ms', better: 'lower' }
const slowest: Figure = { name: 'slowest', unit: 'ms', better: 'lower', quantile: 1 }
const crun: Figure = { name: 'run with crun', unit: 'ms', better: 'lower', against: 'run' }
const rate: Figure = { name: 'rate', unit: 'calls/s', better: 'higher' }

const rounds = new Map<string, readonly Samples[]>([
  [
    'wharfd',
    [
      { run: [100, 90], slowest: [100, 90], rate: 12_345 },
      { run: 95, slowest: 95, rate: 12_345 },
    ],
  ],
  [
    '1.6.20',
    [
      { run: [200, 180], slowest: [200, 180], rate: 24_690 },
      { run: 190, slowest: 400 },
    ],
  ],
])

const lines = linesOf({ name: 'x', figures: [run, slowest, crun, rate] }, rounds, 'wharfd')

suite('bench table', () => {
  test('a line holds medians of the samples of all rounds, and their ratio', () => {
    assert.deepEqual(lines[0]?.values, { wharfd: 95, '1.6.20': 190 })
    assert.deepEqual(lines[0]?.ratios, { '1.6.20': 0.5 })
    assert.deepEqual(lines[0]?.samples, { wharfd: [100, 90, 95], '1.6.20': [200, 180, 190] })
  })

  test('a figure may be another quantile than the median', () => {
    assert.deepEqual(lines[1]?.values, { wharfd: 100, '1.6.20': 400 })
    assert.deepEqual(lines[1]?.ratios, { '1.6.20': 0.25 })
  })

  test('a figure of wharfd alone is compared with another figure of the others', () => {
    const both = new Map([
      ['wharfd', [{ run: 10, 'run with crun': 5 }]],
      ['2.1.9', [{ run: 20 }]],
    ])
    const [line] = linesOf({ name: 'x', figures: [crun] }, both, 'wharfd')
    assert.deepEqual(line?.values, { wharfd: 5 })
    assert.deepEqual(line?.ratios, { '2.1.9': 0.25 })
  })

  test('a figure that nobody was measured at has no line', () => {
    assert.deepEqual(
      lines.map((line) => line.figure),
      [run, slowest, rate],
    )
  })

  test('columns are aligned, and what is missing is a dash', () => {
    const text = formatTable(lines, { labels: ['wharfd', '1.6.20', '2.1.9'], colour: false })
    const expected = [
      'measure  unit     wharfd  1.6.20  2.1.9  /1.6.20  /2.1.9',
      'run      ms         95.0     190      -     0.50       -',
      'slowest  ms          100     400      -     0.25       -',
      'rate     calls/s  12 345  24 690      -     0.50       -',
    ]
    assert.equal(text, expected.join('\n'))
  })

  test('colour changes no text, and says whether wharfd is ahead', () => {
    const labels = ['wharfd', '1.6.20']
    const coloured = formatTable(lines, { labels, colour: true })
    assert.equal(stripVTControlCharacters(coloured), formatTable(lines, { labels, colour: false }))
    assert.ok(coloured.includes('\u001b[32m0.25\u001b[39m'))
    assert.ok(coloured.endsWith('\u001b[33m0.50\u001b[39m'))
  })

  test('numbers have three digits that count', () => {
    const shown = [0.05, 0.4235, 3.694, 48.51, 99.96, 195.4, 1283, 44_550.2, 1e6, 0].map(
      formatNumber,
    )
    const expected = [
      '0.050',
      '0.423',
      '3.69',
      '48.5',
      '100.0',
      '195',
      '1 283',
      '44 550',
      '1 000 000',
      '0.00',
    ]
    assert.deepEqual(shown, expected)
  })

  test('the report of h2load is understood', () => {
    const text = `finished in 4.01s, 12345.50 req/s, 2.22MB/s
requests: 37036 total, 37100 started, 37036 done, 37030 succeeded, 6 failed, 6 errored, 0 timeout
status codes: 37030 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 6.67MB (6991234) total, 1.23MB (1289999) headers (space savings 80.00%), 1.10MB (1153333) data`
    const expected = { perSecond: 12_345.5, succeeded: 37_030, failed: 6, bytes: 1_153_333 }
    assert.deepEqual(parseReport(text), expected)
  })
})
