import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { type Context, silent } from '#core/context.ts'
import type { Body } from '#core/remotes/remotes.ts'

import { defaultSplitting, receive } from './receive.ts'

const ctx = { signal: new AbortController().signal, log: silent }

const status = {
  ref: 'layer',
  offset: 0,
  total: 0,
  expected: '',
  startedAt: new Date(),
  updatedAt: new Date(),
}

const bodyOf = (chunks: readonly Uint8Array[]): Body => ({
  host: 'registry',
  size: undefined,
  isPart: false,
  async *[Symbol.asyncIterator]() {
    await Promise.resolve()
    yield* chunks
  },
  [Symbol.asyncDispose]: async () => await Promise.resolve(),
})

/** Receives `chunks`. @returns what was written. */
async function received(chunks: readonly Uint8Array[]): Promise<Buffer> {
  const written: Buffer[] = []
  const writer = {
    path: undefined,
    status: () => status,
    async write(_ctx: Context, chunk: Uint8Array) {
      await new Promise((resolve) => void setImmediate(resolve))
      written.push(Buffer.from(chunk))
    },
  }
  const size = chunks.reduce((sum, { length }) => sum + length, 0)
  const fetcher = { fetch: async () => await Promise.resolve(bodyOf(chunks)) }
  const target = { mediaType: 'layer', digest: 'sha256:none', size }
  await receive(ctx, writer, { fetcher, target }, defaultSplitting)
  return Buffer.concat(written)
}

void suite('receiving a blob', () => {
  void test('lets go of what is written, and not of what shares its memory', async () => {
    const whole = [1, 2, 3].map((n) => new Uint8Array(new ArrayBuffer(1000).slice()).fill(n))
    const shared = new Uint8Array(2000).fill(4)
    const chunks = [...whole, shared.subarray(0, 1000), shared.subarray(1000)]
    const expected = Buffer.concat(chunks)
    assert.ok((await received(chunks)).equals(expected))
    assert.deepEqual(
      whole.map(({ byteLength }) => byteLength),
      [0, 0, 0],
    )
    assert.equal(shared.byteLength, 2000)
  })
})
