import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'

import { decodeAny, encodeAny } from './fields.ts'

const values = [
  { typeUrl: '', value: new Uint8Array() },
  { typeUrl: 'a.b/C', value: new Uint8Array() },
  { typeUrl: '', value: Uint8Array.of(1, 2) },
  { typeUrl: 'a.b/C', value: new Uint8Array(1000).fill(7) },
]

void suite('google.protobuf.Any', () => {
  void test('its bytes are those of protobuf', () => {
    for (const any of values) {
      const bytes = encodeAny(any)
      assert.deepEqual(bytes, toBinary(AnySchema, create(AnySchema, any)))
      const { typeUrl, value } = fromBinary(AnySchema, bytes)
      assert.deepEqual({ typeUrl, value }, any)
      assert.deepEqual(decodeAny(bytes), any)
    }
  })

  void test('fields that nobody knows are skipped', () => {
    const more = Uint8Array.of(0x18, 5, 0x22, 1, 9)
    const bytes = Buffer.concat([more, encodeAny({ typeUrl: 'x', value: Uint8Array.of(1) }), more])
    assert.deepEqual(decodeAny(bytes), { typeUrl: 'x', value: Uint8Array.of(1) })
  })

  void test('the value is a copy', () => {
    const bytes = encodeAny({ typeUrl: 'x', value: Uint8Array.of(1) })
    const { value } = decodeAny(bytes)
    bytes.fill(0)
    assert.deepEqual(value, Uint8Array.of(1))
  })
})
