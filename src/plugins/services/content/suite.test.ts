import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import type { Store } from '#core/content/content.ts'
import { contentSuite } from '#core/content/testsuite.ts'
import { openWriter, writeBlob } from '#core/content/write-blob.ts'
import type { Context } from '#core/context.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { RemoteContentStore } from '#proxy/content.ts'
import { newContext } from '#testing/context.ts'
import { testMetadata } from '#testing/metadata.ts'
import { serve } from '#testing/serve.ts'

import { contentApi } from './grpc.ts'

/** A store on the other side of a connection, which goes with it. */
async function open(ctx: Context, root: string): Promise<Store> {
  const opened = await testMetadata(ctx, root)
  const served = await serve(ctx, [contentApi(opened.metadata.content)], opened)
  const store = new RemoteContentStore(served.connection)
  return Object.assign(store, {
    [Symbol.asyncDispose]: async () => await served[Symbol.asyncDispose](),
  })
}

contentSuite('remote', newContext, open, { labels: true, appends: false })

test('more than a message may hold is written in several', async (t) => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'content-'))
  const ctx = newContext(t)
  await using store = await open(ctx, dir.path)
  const bytes = randomBytes(20 << 20)
  const digest = digestOf(bytes)
  await writeBlob(ctx, store, [bytes], { ref: 'large', size: bytes.length, digest })
  await using reader = await store.reader(ctx, digest)
  assert.ok(Buffer.from(await reader.read(0, bytes.length)).equals(bytes))
})

test('an upload whose caller is gone goes no further, and can go on later', async (t) => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'content-'))
  const ctx = newContext(t)
  await using store = await open(ctx, dir.path)
  const stop = new AbortController()
  const short = { ...ctx, signal: AbortSignal.any([ctx.signal, stop.signal]) }
  const writer = await store.writer(short, { ref: 'up' })
  await writer.write(short, Buffer.from('abc'))
  stop.abort()
  await assert.rejects(writer.write(ctx, Buffer.from('def')))
  await writer[Symbol.asyncDispose]()
  await using again = await openWriter(ctx, store, { ref: 'up' })
  assert.equal(again.status().offset, 3)
})
