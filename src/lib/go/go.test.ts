import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { formatDuration, parseDuration } from './duration.ts'
import { formatRfc3339, parseRfc3339 } from './rfc3339.ts'
import { decodeTime, encodeTime, isZeroTime, zeroTime } from './time.ts'
import { decodeUvarint, decodeVarint, encodeUvarint, encodeVarint } from './varint.ts'

const hex = (text: string): Uint8Array => Buffer.from(text, 'hex')

void suite('time', () => {
  // From Go 1.26's time.MarshalBinary.
  const golden = [
    ['2006-01-02T15:04:05.999Z', '010000000ebb4b37e53b8b87c0ffff'],
    ['1970-01-01T00:00:00.000Z', '010000000e7791f70000000000ffff'],
    ['1969-12-31T23:59:59.500Z', '010000000e7791f6ff1dcd6500ffff'],
  ] as const

  void test('bytes are those of Go', () => {
    for (const [text, bytes] of golden) {
      assert.equal(Buffer.from(encodeTime(new Date(text))).toString('hex'), bytes)
      assert.equal(decodeTime(hex(bytes)).toISOString(), text)
    }
  })

  void test('a zone does not change the instant', () => {
    assert.equal(
      decodeTime(hex('010000000ebb4b37e53b9ac9ff0078')).toISOString(),
      '2006-01-02T15:04:05.999Z',
    )
    assert.equal(
      decodeTime(hex('020000000ebb4b37e53b9ac9ff007807')).toISOString(),
      '2006-01-02T15:04:05.999Z',
    )
  })

  void test('a nanosecond before the next millisecond rounds down', () => {
    assert.equal(decodeTime(hex('010000000e7791f700000f423fffff')).getTime(), 0)
  })

  void test('the zero time is all zeros', () => {
    assert.deepEqual(
      encodeTime(zeroTime),
      new Uint8Array(hex('010000000000000000000000 00ffff'.replace(' ', ''))),
    )
    assert.ok(isZeroTime(decodeTime(encodeTime(zeroTime))))
    assert.ok(!isZeroTime(new Date(0)))
  })

  void test('other bytes are refused', () => {
    for (const bytes of ['', '01', '03'.padEnd(30, '0'), '01'.padEnd(32, '0')]) {
      assert.throws(() => decodeTime(hex(bytes)), RangeError)
    }
  })
})

void suite('varint', () => {
  const golden = [
    [0n, '00'],
    [-1n, '01'],
    [1n, '02'],
    [63n, '7e'],
    [-64n, '7f'],
    [64n, '8001'],
    [4n, '08'],
    [2n ** 63n - 1n, 'feffffffffffffffff01'],
    [-(2n ** 63n), 'ffffffffffffffffff01'],
  ] as const

  void test('signed numbers are those of Go', () => {
    for (const [value, bytes] of golden) {
      assert.equal(Buffer.from(encodeVarint(value)).toString('hex'), bytes)
      assert.equal(decodeVarint(hex(bytes)), value)
    }
  })

  void test('unsigned numbers are those of Go', () => {
    for (const [value, bytes] of [
      [0n, '00'],
      [300n, 'ac02'],
      [2n ** 64n - 1n, 'ffffffffffffffffff01'],
    ] as const) {
      assert.equal(Buffer.from(encodeUvarint(value)).toString('hex'), bytes)
      assert.equal(decodeUvarint(hex(bytes)), value)
    }
  })

  void test('what does not fit or is cut off is refused', () => {
    assert.throws(() => encodeUvarint(-1), RangeError)
    assert.throws(() => encodeVarint(2n ** 63n), RangeError)
    assert.throws(() => decodeVarint(hex('')), RangeError)
    assert.throws(() => decodeVarint(hex('80')), RangeError)
    assert.throws(() => decodeUvarint(hex('ffffffffffffffffff02')), RangeError)
  })
})

void suite('duration', () => {
  void test('Go durations become milliseconds and come back', () => {
    for (const [text, ms] of [
      ['0s', 0],
      ['100ms', 100],
      ['1m30s', 90_000],
      ['1.5s', 1500],
      ['2h0m0.5s', 7_200_500],
      ['-3s', -3000],
      ['1.5ms', 1.5],
      ['10µs', 0.01],
      ['7ns', 7e-6],
    ] as const) {
      assert.equal(parseDuration(text), ms, text)
      assert.equal(formatDuration(ms), text)
    }
    assert.equal(parseDuration('0'), 0)
    assert.equal(parseDuration('+1h30m'), 5_400_000)
  })

  void test('anything else is refused by name', () => {
    for (const text of ['', '1', 's', '1x', '1m 30s', '--1s', '.s']) {
      assert.throws(() => parseDuration(text), {
        message: `unable to parse ${text} into a time duration`,
      })
    }
  })
})

void suite('RFC 3339', () => {
  void test('the fraction has no trailing zeros', () => {
    assert.equal(formatRfc3339(new Date(0)), '1970-01-01T00:00:00Z')
    assert.equal(formatRfc3339(new Date(120)), '1970-01-01T00:00:00.12Z')
  })

  void test('zones and nanoseconds are understood', () => {
    assert.equal(parseRfc3339('1970-01-01T01:00:00.123456789+01:00').getTime(), 123)
    assert.equal(parseRfc3339('2024-02-29T12:00:00Z').toISOString(), '2024-02-29T12:00:00.000Z')
  })

  void test('anything else is refused', () => {
    for (const text of ['', 'now', '2024-02-29', '2024-13-01T00:00:00Z', '2024-01-01T00:00:00']) {
      assert.throws(() => parseRfc3339(text), RangeError)
    }
  })
})
