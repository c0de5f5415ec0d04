import assert from 'node:assert/strict'
import { test } from 'node:test'

import { assert as check, property, uint8Array } from 'fast-check'

import { fromBytes, toBytes } from './byte-string.ts'

test('text is text, and a byte that is none stands as one surrogate', () => {
  assert.equal(fromBytes(Buffer.from('héé')), 'héé')
  assert.equal(fromBytes(Buffer.from([0x61, 0xff, 0x62])), 'a\udcffb')
  assert.deepEqual(toBytes('a\udcffb'), Buffer.from([0x61, 0xff, 0x62]))
})

test('all bytes survive the way to text and back', () => {
  check(property(uint8Array(), (bytes) => Buffer.compare(toBytes(fromBytes(bytes)), bytes) === 0))
})
