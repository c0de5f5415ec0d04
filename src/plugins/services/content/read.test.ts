import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'

import { writeBlob } from '#core/content/write-blob.ts'
import { Content, type ReadContentResponse } from '#gen/services/content_pb.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { callOptions } from '#proxy/call.ts'
import { withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { contentApi } from './grpc.ts'

const mebibyte = 1 << 20
const blob = randomBytes(2 * mebibyte + 100)
const digest = digestOf(blob)

type Read = (offset: number, size: number, of?: string) => Promise<ReadContentResponse[]>

async function reading(t: TestContext, body: (read: Read) => Promise<void>): Promise<void> {
  await withMetadata(t, async ({ ctx, metadata }) => {
    await writeBlob(ctx, metadata.content, [blob], { ref: 'blob', digest })
    await using served = await serve(ctx, [contentApi(metadata.content)])
    const client = served.connection.client(Content)
    await body(async (offset, size, of = digest) => {
      const request = { digest: of, offset: BigInt(offset), size: BigInt(size) }
      return await Array.fromAsync(client.read(request, callOptions(ctx)))
    })
  })
}

const bytesOf = (pieces: readonly ReadContentResponse[]): Buffer =>
  Buffer.concat(pieces.map(({ data }) => data))

test('a blob comes in pieces of a mebibyte', async (t) => {
  await reading(t, async (read) => {
    const pieces = await read(0, 0)
    assert.deepEqual(
      pieces.map(({ offset }) => Number(offset)),
      [0, mebibyte, 2 * mebibyte],
    )
    assert.ok(bytesOf(pieces).equals(blob))
  })
})

test('offsets of pieces count from what was asked for', async (t) => {
  await reading(t, async (read) => {
    const pieces = await read(1000, mebibyte + 1)
    assert.deepEqual(
      pieces.map(({ offset }) => Number(offset)),
      [0, mebibyte],
    )
    assert.ok(bytesOf(pieces).equals(blob.subarray(1000, 1000 + mebibyte + 1)))
  })
})

test('a size that is too large means the rest, and an offset below the beginning is the beginning', async (t) => {
  await reading(t, async (read) => {
    assert.equal(bytesOf(await read(blob.length - 10, mebibyte)).length, 10)
    assert.equal(bytesOf(await read(-5, 10)).length, 10)
    assert.deepEqual(await read(blob.length, 0), [])
  })
})

test('an offset past the end is out of range, and a bad digest no argument', async (t) => {
  await reading(t, async (read) => {
    await rejectsWith(
      'out_of_range',
      read(blob.length + 1, 0),
      `read past object length ${blob.length} bytes`,
    )
    await rejectsWith(
      'invalid_argument',
      read(0, 0, 'sha256:short'),
      /invalid checksum digest length/,
    )
    await rejectsWith('not_found', read(0, 0, digestOf('missing')))
  })
})

test('many reads at the same time get what each has asked for', async (t) => {
  await reading(t, async (read) => {
    const starts = Array.from({ length: 100 }, (_, n) => (n * 7919) % mebibyte)
    const reads = starts.map(async (start, n) => {
      const size = n % 10 === 0 ? mebibyte + 50 : 32 << 10
      const got = bytesOf(await read(start, size))
      assert.ok(got.equals(blob.subarray(start, start + size)), `${size} bytes at ${start}`)
    })
    await Promise.all(reads)
  })
})
