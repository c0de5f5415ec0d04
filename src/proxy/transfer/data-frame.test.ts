import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'

import { fromBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'

import { DataSchema } from '#gen/types/transfer/streaming_pb.ts'
import { encodeMessage, lenderOf } from '#lib/rpc/codec.ts'
import { unpack } from '#proxy/convert/pack.ts'

import { DataFrames } from './data-frame.ts'

const most = 32 << 10

test('a message is what the generated code reads', () => {
  const frames = new DataFrames(most)
  for (const length of [1, 127, 128, 16_383, 16_384, most]) {
    const data = randomBytes(length)
    const any = frames.frame(data)
    assert.ok(data.equals(unpack(DataSchema, any).data))
    const read = fromBinary(AnySchema, encodeMessage(AnySchema, any))
    assert.equal(read.typeUrl, DataSchema.typeName)
    assert.ok(data.equals(unpack(DataSchema, read).data))
  }
})

test('a message is made where one was that has left, and nowhere else', () => {
  const frames = new DataFrames(most)
  const data = randomBytes(most)
  const bytes = (): Uint8Array => encodeMessage(AnySchema, frames.frame(data))
  const [first, second] = [bytes(), bytes()]
  assert.notEqual(first.buffer, second.buffer)
  lenderOf(first)?.()
  assert.equal(bytes().buffer, first.buffer)
  assert.notEqual(bytes().buffer, second.buffer)
})
