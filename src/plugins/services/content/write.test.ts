import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'

import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Store, Writer } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import {
  Content,
  WriteAction,
  type WriteContentRequestSchema,
  type WriteContentResponse,
} from '#gen/services/content_pb.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { CodedError } from '#lib/errors/errors.ts'
import { Inbox } from '#lib/rpc/inbox.ts'
import { callOptions } from '#proxy/call.ts'
import { withMetadata } from '#testing/metadata.ts'
import { overridingStore } from '#testing/overriding.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { contentApi } from './grpc.ts'

const { STAT, WRITE, COMMIT } = WriteAction
const hello = Buffer.from('hello, world')
const digest = digestOf(hello)

type Request = MessageInitShape<typeof WriteContentRequestSchema>

interface Upload {
  ask(request: Request): Promise<WriteContentResponse>
  /** Sends no more, and gives what is still answered. */
  finish(): Promise<WriteContentResponse[]>
}

interface Given {
  readonly ctx: Context
  readonly store: Store
  readonly begin: () => Upload
}

/** Uploads request by request, as the wire has them. */
async function conversing(
  t: TestContext,
  body: (given: Given) => Promise<void>,
  change: (store: Store) => Store = (same) => same,
): Promise<void> {
  await withMetadata(t, async ({ ctx, metadata }) => {
    await using served = await serve(ctx, [contentApi(change(metadata.content))])
    const client = served.connection.client(Content)
    const begin = (): Upload => {
      const requests = new Inbox<Request>()
      const answers = client.write(requests, callOptions(ctx))[Symbol.asyncIterator]()
      return {
        async ask(request) {
          requests.push(request)
          const answer = await answers.next()
          assert.ok(!answer.done, 'the call ended')
          return answer.value
        },
        async finish() {
          requests.end()
          return await Array.fromAsync({ [Symbol.asyncIterator]: () => answers })
        },
      }
    }
    await body({ ctx, store: metadata.content, begin })
  })
}

test('an upload is one answer per request, and the last one twice', async (t) => {
  await conversing(t, async ({ ctx, store, begin }) => {
    const upload = begin()
    const stat = await upload.ask({ action: STAT, ref: 'up', total: 12n, expected: digest })
    assert.equal(stat.offset, 0n)
    assert.equal(stat.total, 12n)
    assert.ok(stat.startedAt)
    const half = await upload.ask({ action: WRITE, data: hello.subarray(0, 5) })
    assert.equal(half.offset, 5n)
    assert.equal(half.digest, digestOf('hello'))
    const told = ({ startedAt, updatedAt, total }: WriteContentResponse) => [
      startedAt,
      updatedAt,
      total,
    ]
    assert.deepEqual(told(half), told(stat))
    const last = await upload.ask({
      action: COMMIT,
      offset: 5n,
      data: hello.subarray(5),
      labels: { a: 'b' },
    })
    assert.equal(last.offset, 12n)
    assert.equal(last.digest, digest)
    assert.deepEqual(told(last), told(stat))
    assert.deepEqual(await upload.finish(), [last])
    assert.deepEqual((await store.info(ctx, digest)).labels, { a: 'b' })
  })
})

test('the first request of an upload names it', async (t) => {
  await conversing(t, async ({ begin }) => {
    await rejectsWith(
      'invalid_argument',
      begin().ask({ action: STAT }),
      'first message must have a reference',
    )
  })
})

test('an upload that ends early keeps what has come, and goes on there', async (t) => {
  await conversing(t, async ({ begin }) => {
    const first = begin()
    const { startedAt, total } = await first.ask({
      action: WRITE,
      ref: 'up',
      data: hello.subarray(0, 5),
    })
    assert.deepEqual([startedAt, total], [undefined, 0n])
    assert.equal((await first.finish()).length, 1)
    const again = begin()
    const stat = await again.ask({ action: STAT, ref: 'up' })
    assert.equal(stat.offset, 5n)
    const rest = await again.ask({ action: COMMIT, offset: 5n, data: hello.subarray(5) })
    assert.equal(rest.digest, digest)
  })
})

test('a write at the beginning starts over', async (t) => {
  await conversing(t, async ({ begin }) => {
    const upload = begin()
    await upload.ask({ action: WRITE, ref: 'up', data: Buffer.from('something else') })
    const over = await upload.ask({ action: WRITE, offset: 0n, data: hello })
    assert.equal(over.offset, 12n)
    assert.equal(over.digest, digest)
  })
})

test('a write anywhere but at the end is out of range', async (t) => {
  await conversing(t, async ({ begin }) => {
    const upload = begin()
    await upload.ask({ action: WRITE, ref: 'up', data: hello })
    await rejectsWith(
      'out_of_range',
      upload.ask({ action: WRITE, offset: 5n, data: hello }),
      'write @5 must occur at current offset 12',
    )
  })
})

test('content that is known ends the upload, and nothing of it stays', async (t) => {
  await conversing(t, async ({ ctx, store, begin }) => {
    const first = begin()
    await first.ask({ action: COMMIT, ref: 'one', data: hello })
    await first.finish()
    const second = begin()
    await second.ask({ action: WRITE, ref: 'two', data: hello })
    await rejectsWith(
      'already_exists',
      second.ask({ action: COMMIT, offset: 12n, expected: digest }),
      `blob with expected digest ${digest} exists`,
    )
    await rejectsWith('not_found', store.status(ctx, 'two'))
  })
})

test('a name is held by one upload at a time', async (t) => {
  await conversing(t, async ({ begin }) => {
    const first = begin()
    await first.ask({ action: STAT, ref: 'up' })
    await rejectsWith('unavailable', begin().ask({ action: STAT, ref: 'up' }), /locked/)
    await first.finish()
    await begin().ask({ action: STAT, ref: 'up' })
  })
})

/** Its bytes cannot be written, which shows when `failed` rejects. */
const unwritable = (writer: Writer, failed: Promise<void>): Writer => ({
  write: async (...args) => await writer.write(...args),
  async append(...args) {
    await writer.append?.(...args)
    return { written: failed }
  },
  digest: () => writer.digest(),
  status: () => writer.status(),
  truncate: async (...args) => await writer.truncate(...args),
  commit: async (...args) => await writer.commit(...args),
  [Symbol.asyncDispose]: async () => await writer[Symbol.asyncDispose](),
})

for (const [name, action] of [
  ['write', WRITE],
  ['commit', COMMIT],
] as const) {
  const title = `what fails after it was answered is the answer to the next ${name}`
  test(title, async (t) => {
    const { promise: failed, reject } = Promise.withResolvers<void>()
    const body = async ({ ctx, store, begin }: Given): Promise<void> => {
      const upload = begin()
      const half = await upload.ask({ action: WRITE, ref: 'up', data: hello.subarray(0, 5) })
      assert.equal(half.offset, 5n)
      reject(new CodedError('resource_exhausted', 'the disk is full'))
      const rest = upload.ask({ action, offset: 5n, data: hello.subarray(5) })
      await rejectsWith('resource_exhausted', rest, 'the disk is full')
      await rejectsWith('not_found', store.info(ctx, digest))
    }
    await conversing(t, body, (store) =>
      overridingStore(store, {
        writer: async (...args) => unwritable(await store.writer(...args), failed),
      }),
    )
  })
}
