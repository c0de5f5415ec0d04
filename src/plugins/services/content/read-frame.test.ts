import assert from 'node:assert/strict'
import { test } from 'node:test'

import { fromBinary } from '@bufbuild/protobuf'

import { ReadContentResponseSchema } from '#gen/services/content_pb.ts'

import { lenderOf } from '#lib/rpc/codec.ts'

import { frameFor } from './read-frame.ts'

for (const offset of [0, 1, 127, 128, 2 ** 31, 2 ** 32 + 5, Number.MAX_SAFE_INTEGER]) {
  test(`a message at ${offset} is what the generated code reads`, () => {
    for (const length of [1, 127, 128, 1 << 20]) {
      const { bytes, data } = frameFor(offset, length)
      data.fill(0x61)
      const message = fromBinary(ReadContentResponseSchema, bytes)
      assert.equal(message.offset, BigInt(offset))
      assert.equal(message.data.length, length)
      assert.ok(message.data.every((byte) => byte === 0x61))
    }
  })
}

for (const length of [100, 32 << 10, 1 << 20]) {
  test(`a message of ${length} bytes is made where one was that has left, and nowhere else`, () => {
    const first = frameFor(0, length)
    const second = frameFor(0, length)
    assert.notEqual(first.data.buffer, second.data.buffer)
    lenderOf(first.bytes)?.()
    const third = frameFor(0, length)
    assert.equal(third.data.buffer, first.data.buffer)
    assert.notEqual(frameFor(0, length).data.buffer, second.data.buffer)
  })
}
