import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Store, Writer } from '#core/content/content.ts'
import { WriteAhead } from '#core/content/write-ahead.ts'
import type { Context } from '#core/context.ts'
import {
  WriteAction,
  type WriteContentRequest,
  type WriteContentResponseSchema,
} from '#gen/services/content_pb.ts'
import { weighBuffers } from '#lib/bytes/weigh-buffers.ts'
import { CodedError, hasCode } from '#lib/errors/errors.ts'
import { dateToProto } from '#proxy/convert/timestamp.ts'

type Response = MessageInitShape<typeof WriteContentResponseSchema>

/*
 * An upload is a conversation: each request is answered before the next one is read.
 *
 *   client  STAT ref      WRITE offset data      …   COMMIT total expected labels   (end)
 *   server  offset total  offset                     offset digest                  last one again
 *
 * The first request names the upload with `ref`, whatever its action, and holds it until the end.
 * The total and the times of the latest STAT are told again with every answer after it.
 * Ending without COMMIT keeps what has come. The last answer is sent twice, as upstream does.
 */

/** How many bytes of an upload may have been answered that are not in its file yet. */
const mostAhead = 4 << 20
/** An upload of more bytes than this is worth preparing for. */
const largeUpload = 16 << 20

/**
 * Receives an upload. Source: upstream `plugins/services/content/contentserver`.
 *
 * @throws `invalid_argument` without a ref; `out_of_range` for a write that is not at the end of
 * what is there; `already_exists` for content that is known; whatever the store throws.
 */
export async function* write(
  ctx: Context,
  store: Store,
  requests: AsyncIterable<WriteContentRequest>,
): AsyncGenerator<Response, void, undefined> {
  const iterator = requests[Symbol.asyncIterator]()
  const first = await iterator.next()
  if (first.done) throw new CodedError('unknown', 'EOF')
  const { ref, total, expected } = first.value
  if (ref === '') throw new CodedError('invalid_argument', 'first message must have a reference')

  await using writer = await store.writer(ctx, { ref, total: Number(total), expected })
  await using upload = new Upload(store, writer, ref)
  let answer: Response | undefined
  for (
    let next: IteratorResult<WriteContentRequest> = first;
    !next.done;
    next = await iterator.next()
  ) {
    answer = await upload.handle(ctx, next.value)
    yield answer
    if (next.value.action === WriteAction.COMMIT) break
  }
  if (answer) yield answer
}

/** Disposal waits for what is still being written. */
class Upload implements AsyncDisposable {
  readonly #ahead = new WriteAhead(mostAhead)
  readonly #store: Store
  readonly #writer: Writer
  readonly #ref: string
  #total = 0
  #expected = ''
  /** What the latest STAT was told. */
  #told: Pick<Response, 'startedAt' | 'updatedAt' | 'total'> = {}

  constructor(store: Store, writer: Writer, ref: string) {
    this.#store = store
    this.#writer = writer
    this.#ref = ref
  }

  async handle(ctx: Context, request: WriteContentRequest): Promise<Response> {
    if (request.expected) {
      this.#expected = request.expected
      await this.#refuseKnown(ctx)
    }
    if (request.total > 0n) this.#total = Number(request.total)

    switch (request.action) {
      case WriteAction.WRITE:
        return this.#answer(request, await this.#write(ctx, request))
      case WriteAction.COMMIT:
        return await this.#commit(ctx, request)
      case WriteAction.STAT:
      default:
        return this.#status(request)
    }
  }

  /** Content that is there needs no upload: the upload is thrown away. */
  async #refuseKnown(ctx: Context): Promise<void> {
    const known = await this.#isKnown(ctx)
    if (!known) return
    try {
      await this.#ahead.settled()
      await this.#writer[Symbol.asyncDispose]()
      await this.#store.abort(ctx, this.#ref)
    } catch (error) {
      ctx.log.error('failed to abort write', { ref: this.#ref, error })
    }
    const message = `blob with expected digest ${this.#expected} exists`
    throw new CodedError('already_exists', message)
  }

  async #isKnown(ctx: Context): Promise<boolean> {
    try {
      await this.#store.info(ctx, this.#expected)
      return true
    } catch (err) {
      if (hasCode(err, 'not_found') || hasCode(err, 'invalid_argument')) return false
      throw err
    }
  }

  /** Appends what the request brings. @returns the offset after it. */
  async #write(ctx: Context, request: WriteContentRequest): Promise<number> {
    const at = Number(request.offset)
    let { offset } = this.#writer.status()
    if (at > 0 && at !== offset) {
      const message = `write @${at} must occur at current offset ${offset}`
      throw new CodedError('out_of_range', message)
    }
    if (at === 0 && offset > 0) {
      await this.#ahead.done()
      await this.#writer.truncate(ctx, 0)
      offset = 0
    }
    if (offset > largeUpload) weighBuffers()
    if (request.data.length > 0) await this.#append(ctx, request.data)
    return offset + request.data.length
  }

  /** The next request can come while this one is written; what that fails with is the answer to a later one. */
  async #append(ctx: Context, data: Uint8Array): Promise<void> {
    this.#ahead.check()
    if (!this.#writer.append) return await this.#writer.write(ctx, data)
    const { written } = await this.#writer.append(ctx, data)
    await this.#ahead.add(data, written)
  }

  async #commit(ctx: Context, request: WriteContentRequest): Promise<Response> {
    const offset = await this.#write(ctx, request)
    await this.#ahead.done()
    await this.#writer.commit(ctx, {
      size: this.#total,
      expected: this.#expected,
      labels: request.labels,
    })
    return this.#answer(request, offset)
  }

  #answer({ action }: WriteContentRequest, offset: number): Response {
    return { ...this.#told, action, offset: BigInt(offset), digest: this.#writer.digest() }
  }

  #status(request: WriteContentRequest): Response {
    const { offset, startedAt, updatedAt } = this.#writer.status()
    this.#told = {
      startedAt: dateToProto(startedAt),
      updatedAt: dateToProto(updatedAt),
      total: BigInt(this.#total),
    }
    return this.#answer(request, offset)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#ahead.settled()
  }
}
