import type { MessageInitShape } from '@bufbuild/protobuf'

import type { CommitOptions, Status, Writer, WriterOptions } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import {
  type Content,
  WriteAction,
  type WriteContentRequestSchema,
  type WriteContentResponse,
} from '#gen/services/content_pb.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { dataLoss, failedPrecondition } from '#lib/errors/errors.ts'
import { Inbox } from '#lib/rpc/inbox.ts'
import type { ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { dateFromProto } from './convert/timestamp.ts'

type Request = MessageInitShape<typeof WriteContentRequestSchema>

/** Bytes of one message: half of what a server takes. Source: upstream `content_writer.go`. */
const maxMessageBytes = 8 << 20

/**
 * An upload to another daemon: one call for as long as it is open. Each request waits for its
 * answer; requests of one writer must not overlap.
 */
export class RemoteWriter implements Writer {
  readonly #requests = new Inbox<Request>()
  readonly #answers: AsyncIterator<WriteContentResponse>
  readonly #ref: string
  readonly #expected: string
  #status: Status
  #digest = ''
  #over = false

  private constructor(ctx: Context, client: ServiceClient<typeof Content>, options: WriterOptions) {
    const now = new Date()
    this.#ref = options.ref
    this.#expected = options.expected ?? ''
    this.#status = {
      ref: options.ref,
      offset: 0,
      total: options.total ?? 0,
      expected: this.#expected,
      startedAt: now,
      updatedAt: now,
    }
    this.#answers = client.write(this.#requests, callOptions(ctx))[Symbol.asyncIterator]()
  }

  /** Opens or resumes an upload. @throws as `Store.writer`. */
  static async open(
    ctx: Context,
    client: ServiceClient<typeof Content>,
    options: WriterOptions,
  ): Promise<RemoteWriter> {
    const writer = new RemoteWriter(ctx, client, options)
    try {
      const answer = await writer.#ask(ctx, {
        action: WriteAction.STAT,
        ref: options.ref,
        total: BigInt(options.total ?? 0),
        expected: options.expected ?? '',
      })
      writer.#adopt(answer)
      return writer
    } catch (err) {
      await writer[Symbol.asyncDispose]()
      throw err
    }
  }

  async write(ctx: Context, data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length; at += maxMessageBytes) {
      const piece = data.subarray(at, at + maxMessageBytes)
      const { offset } = this.#status
      const answer = await this.#ask(ctx, {
        action: WriteAction.WRITE,
        offset: BigInt(offset),
        data: piece,
      })
      this.#moveTo(answer)
      if (this.#status.offset < offset + piece.length) {
        throw dataLoss(`wrote ${this.#status.offset - offset} of ${piece.length} bytes`)
      }
    }
  }

  digest(): string {
    return this.#digest
  }

  status(): Status {
    return this.#status
  }

  /** Takes effect with the next request. @throws `failed_precondition` for a size other than 0. */
  async truncate(_ctx: Context, size: number): Promise<void> {
    if (size !== 0) throw failedPrecondition(`cannot truncate ${this.#ref} to ${size} bytes`)
    this.#status = { ...this.#status, offset: 0, updatedAt: new Date() }
    this.#digest = digestOf('')
    await Promise.resolve()
  }

  async commit(ctx: Context, { size = 0, expected = '', labels }: CommitOptions): Promise<void> {
    const answer = await this.#ask(ctx, {
      action: WriteAction.COMMIT,
      total: BigInt(size),
      offset: BigInt(this.#status.offset),
      expected,
      labels: { ...labels },
    })
    this.#moveTo(answer)
    await this[Symbol.asyncDispose]()
  }

  /** Ends the call, and waits until the daemon has let go of the ref. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    this.#requests.end()
    try {
      while (!(await this.#answers.next()).done);
    } catch {
      // Who asked last has been told; a writer without a call holds nothing.
    }
  }

  /** One request and its answer. A failure ends the call: what follows would answer another request. */
  async #ask(ctx: Context, request: Request): Promise<WriteContentResponse> {
    ctx.signal.throwIfAborted()
    if (this.#over) throw failedPrecondition(`upload of ${JSON.stringify(this.#ref)} is closed`)
    this.#requests.push(request)
    try {
      const answer = await raceAbort(this.#answers.next(), ctx.signal)
      if (!answer.done) return answer.value
    } catch (err) {
      this.#over = true
      if (ctx.signal.aborted) await this.#answers.return?.()
      throw err
    }
    this.#over = true
    throw dataLoss(`the upload of ${JSON.stringify(this.#ref)} ended early`)
  }

  #adopt(answer: WriteContentResponse): void {
    this.#moveTo(answer)
    this.#status = {
      ...this.#status,
      total: Number(answer.total),
      startedAt: dateFromProto(answer.startedAt),
      updatedAt: dateFromProto(answer.updatedAt),
    }
  }

  #moveTo(answer: WriteContentResponse): void {
    if (answer.digest) this.#digest = answer.digest
    this.#status = { ...this.#status, offset: Number(answer.offset), updatedAt: new Date() }
  }
}
