import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { parseMoment } from './moment.ts'

void suite('a moment on the command line', () => {
  void test('it is a time, a day, a number of seconds, or how long ago', () => {
    const now = Date.UTC(2026, 5, 15, 12)
    const moments = {
      '2026-06-01T10:20:30.5Z': '2026-06-01T10:20:30.500Z',
      '2026-06-01T10:20:30+02:00': '2026-06-01T08:20:30.000Z',
      '2026-06-01': '2026-06-01T00:00:00.000Z',
      '1780000000': '2026-05-28T20:26:40.000Z',
      '1.5': '1970-01-01T00:00:01.500Z',
      '10m': '2026-06-15T11:50:00.000Z',
      '1h30m': '2026-06-15T10:30:00.000Z',
    }
    for (const [text, expected] of Object.entries(moments)) {
      assert.equal(parseMoment(text, now)?.toISOString(), expected, text)
    }
  })

  void test('anything else is none', () => {
    for (const text of ['', 'yesterday', '2026-13-01', '2026-06-01 10:20', '10 minutes']) {
      assert.equal(parseMoment(text, 0), undefined, text)
    }
  })
})
