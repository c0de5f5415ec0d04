import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'

import type { Any } from '#core/any/any.ts'
import { type Context, withNamespace } from '#core/context.ts'
import type { Metadata } from '#core/metadata/metadata.ts'
import { StreamInitSchema, Streaming } from '#gen/services/streaming_pb.ts'
import { Inbox } from '#lib/rpc/inbox.ts'
import type { ServiceClient } from '#lib/rpc/rpc.ts'
import { OpenStreams } from '#plugins/streaming/manager.ts'
import { pack } from '#proxy/convert/pack.ts'
import { newContext } from '#testing/context.ts'
import { testMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { type Served, serve } from '#testing/serve.ts'

import { streamingApi } from './grpc.ts'

const text = (value: string): Any => ({ typeUrl: 'a.Text', value: Buffer.from(value) })
const textOf = (any: Any | undefined): string | undefined =>
  any && Buffer.from(any.value).toString()

interface Given {
  readonly ctx: Context
  readonly streams: OpenStreams
  readonly metadata: Metadata
  readonly client: ServiceClient<typeof Streaming>
  /** A client that has opened stream `id`: what it sends and gets. */
  readonly open: (id: string, headers?: Readonly<Record<string, string>>) => Promise<Client>
}

interface Client extends Disposable {
  readonly requests: Inbox<Any>
  next(): Promise<Any | undefined>
}

function check(title: string, body: (given: Given) => Promise<void>): void {
  void test(title, async (t: TestContext) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'streams-'))
    const ctx = withNamespace(newContext(t), 'default')
    const opened = await testMetadata(ctx, dir.path)
    const streams = new OpenStreams()
    opened.metadata.registerCollectible(streams)
    await using served = await serve(ctx, [streamingApi(streams)], opened)
    await using clients = new AsyncDisposableStack()
    await body({
      ctx,
      streams,
      metadata: opened.metadata,
      client: served.connection.client(Streaming),
      open: async (id, headers) => clients.use(await openStream(served, id, headers)),
    })
  })
}

async function openStream(
  { connection }: Served,
  id: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Client> {
  const requests = new Inbox<Any>()
  const gone = new AbortController()
  const metadata = { 'containerd-namespace': 'default', ...headers }
  const call = connection.client(Streaming).stream(requests, { metadata, signal: gone.signal })
  const answers = call[Symbol.asyncIterator]()
  requests.push(pack(StreamInitSchema, { id }))
  const first = await answers.next()
  assert.equal(first.value?.typeUrl, 'google.protobuf.Empty')
  const next = async (): Promise<Any | undefined> => {
    const { done, value } = await answers.next()
    return done ? undefined : value
  }
  return { requests, next, [Symbol.dispose]: () => gone.abort() }
}

check('messages go both ways, in order, until either end', async ({ ctx, streams, open }) => {
  const client = await open('a')
  const stream = streams.get(ctx, 'a')
  for (const word of ['one', 'two']) client.requests.push(text(word))
  for (const word of ['three', 'four']) await stream.send(ctx, text(word))
  assert.equal(textOf(await stream.receive(ctx)), 'one')
  assert.equal(textOf(await stream.receive(ctx)), 'two')
  assert.equal(textOf(await client.next()), 'three')
  assert.equal(textOf(await client.next()), 'four')

  client.requests.end()
  assert.equal(await stream.receive(ctx), undefined)
  await stream.send(ctx, text('last'))
  assert.equal(textOf(await client.next()), 'last')
  stream.close()
  assert.equal(await client.next(), undefined)
  await rejectsWith('unavailable', stream.send(ctx, text('late')), /the stream is closed/)
})

check('an id is taken while its client is there', async ({ ctx, streams, open }) => {
  const client = await open('a')
  await rejectsWith('already_exists', open('a'), 'stream "a": already exists')
  assert.throws(() => streams.get(withNamespace(ctx, 'other'), 'a'), /stream "a": not found/)
  const waiting = streams.get(ctx, 'a').receive(ctx)
  client[Symbol.dispose]()
  await assert.rejects(waiting)
  while (isThere(streams, ctx, 'a')) await new Promise((resolve) => setImmediate(resolve))
  await open('a')
})

check('a sender waits for a client that reads nothing', async ({ ctx, streams, open }) => {
  const client = await open('a')
  const stream = streams.get(ctx, 'a')
  const big = text('x'.repeat(1 << 20))
  const signal = AbortSignal.timeout(300)
  let sent = 0
  const sending = (async () => {
    for (; sent < 100; sent++) await stream.send({ ...ctx, signal }, big)
  })()
  await assert.rejects(sending, 'all 100 MiB were taken though nobody read')
  assert.ok(sent < 100)
  assert.equal((await client.next())?.value.length, 1 << 20)
})

check('a stream of a lease is closed with it, and another is not', async (given) => {
  const { ctx, streams, metadata, open } = given
  await metadata.leases.create(ctx, { id: 'l', labels: {} })
  const leased = await open('leased', { 'containerd-lease': 'l' })
  await open('free')
  await metadata.collect(ctx)
  assert.ok(isThere(streams, ctx, 'leased') && isThere(streams, ctx, 'free'))
  await metadata.leases.delete(ctx, 'l')
  await metadata.collect(ctx)
  assert.deepEqual([isThere(streams, ctx, 'leased'), isThere(streams, ctx, 'free')], [false, true])
  assert.equal(await leased.next(), undefined)
})

check('a first message that is no StreamInit is refused', async ({ client }) => {
  for (const typeUrl of ['a.Text', `type.googleapis.com/${StreamInitSchema.typeName}`]) {
    const requests = new Inbox<Any>()
    requests.push({ ...pack(StreamInitSchema, { id: 'a' }), typeUrl })
    const metadata = { 'containerd-namespace': 'default' }
    const answers = client.stream(requests, { metadata })[Symbol.asyncIterator]()
    await rejectsWith('unknown', answers.next(), new RegExp(`can't unmarshal type "${typeUrl}"`))
  }
})

function isThere(streams: OpenStreams, ctx: Context, id: string): boolean {
  try {
    streams.get(ctx, id)
    return true
  } catch {
    return false
  }
}
