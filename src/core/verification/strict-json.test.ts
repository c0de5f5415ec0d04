import assert from 'node:assert/strict'
import { test } from 'node:test'

import { assert as holds, json, property } from 'fast-check'

import { parseStrictJson } from './strict-json.ts'

const parse = (text: string): unknown => parseStrictJson(Buffer.from(text), 'it')

test('whatever JSON writes without doubles is read as JSON reads it', () => {
  holds(
    property(json({ maxDepth: 6 }), (text) => {
      const value: unknown = JSON.parse(text)
      const folded = (item: unknown): boolean => {
        if (typeof item !== 'object' || item === null) return true
        const keys = Object.keys(item).map((key) => key.toLowerCase())
        return new Set(keys).size === keys.length && Object.values(item).every(folded)
      }
      if (folded(value)) assert.deepEqual(parse(text), value)
      else assert.throws(() => parse(text), /twice/)
    }),
  )
})

test('a key that stands twice is refused, however it is written', () => {
  for (const text of [
    '{"a":1,"a":1}',
    '{"a":1,"A":2}',
    '{"a":1,"\\u0061":2}',
    '{"x":[{"y":{"b":1,"c":[],"b":2}}]}',
    '{"a":{"z":1},"b":{"z":1},"a":0}',
  ]) {
    assert.throws(() => parse(text), /it is no good JSON: key "[aAb]" stands twice/, text)
  }
  assert.deepEqual(parse('{"a":{"a":["a","a",{"a":1}]},"b":"a"}'), {
    a: { a: ['a', 'a', { a: 1 }] },
    b: 'a',
  })
})

test('what is deep, no UTF-8, or no JSON is refused', () => {
  for (const text of ['', '{', '{"a":1}x', `${'['.repeat(40)}${']'.repeat(40)}`, "{'a':1}"]) {
    assert.throws(() => parse(text), /it is no good JSON/)
  }
  assert.throws(() => parseStrictJson(Uint8Array.of(0x22, 0xff, 0x22), 'it'), /it is no good JSON/)
  assert.equal(String(parse(JSON.stringify('\\"{,'.repeat(250_000)))).length, 1_000_000)
})
