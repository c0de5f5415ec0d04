import type { Readable } from 'node:stream'
import { createGunzip, createInflate, createZstdDecompress } from 'node:zlib'

import type { Context } from '#core/context.ts'
import { type CodedError, dataLoss, unavailable, unimplemented } from '#lib/errors/errors.ts'

import { connectionFailure, isTransient } from './connection-failure.ts'
import type { Answer } from './exchange.ts'
import type { Body } from './remotes.ts'

export interface OpenBodyOptions {
  readonly stage: string
  /** Who sends, for messages. */
  readonly host: string
  /** How many bytes there must be; undefined when nobody knows. */
  readonly size: number | undefined
  /** How many there may be when nobody knows how many there are; any number when absent. */
  readonly atMost?: number | undefined
  /** Asks for the rest, from byte `offset` of this body on; undefined when it cannot be taken up again. */
  readonly reopen: ((offset: number) => Promise<Answer>) | undefined
  /** A body that brings next to nothing for so long has stalled. */
  readonly stallMs: number
}

/** How often a body is taken up again without a byte coming. Source: upstream `httpreadseeker.go`. */
const mostRetries = 3
/** Fewer bytes a second than this, over the whole of `stallMs`, is next to nothing. */
const slowest = 512

/** The bytes of `answer`, which takes itself up again when its connection breaks. See `Body`. */
export function openBody(ctx: Context, answer: Answer, options: OpenBodyOptions): Body {
  const reader = new BodyReader(ctx, answer, options)
  return {
    host: options.host,
    size: options.size,
    isPart: answer.status === 206,
    [Symbol.asyncIterator]: () => reader.read(),
    [Symbol.asyncDispose]: async () => await reader.close(),
  }
}

class BodyReader {
  readonly #ctx: Context
  readonly #options: OpenBodyOptions
  #answer: Answer
  #received = 0
  #closed = false

  constructor(ctx: Context, answer: Answer, options: OpenBodyOptions) {
    this.#ctx = ctx
    this.#answer = answer
    this.#options = options
    answer.body.on('error', ignore)
  }

  async *read(): AsyncGenerator<Uint8Array, void> {
    try {
      for (let failures = 0; ; failures++) {
        const before = this.#received
        try {
          yield* this.#stream()
          return
        } catch (err) {
          if (this.#received > before) failures = 0
          await this.#resume(err, failures)
        }
      }
    } finally {
      await this.close()
    }
  }

  close(): Promise<void> {
    this.#closed = true
    this.#answer.body.destroy()
    return Promise.resolve()
  }

  async *#stream(): AsyncGenerator<Uint8Array, void> {
    const { size, atMost, stage, host, stallMs } = this.#options
    const limit = size ?? atMost ?? Infinity
    const pace = new Pace(stallMs)
    for await (const chunk of pace.timed(decoded(this.#answer))) {
      this.#received += chunk.length
      if (this.#received > limit) {
        throw dataLoss(`${stage}: host ${host} sends more than the ${limit} bytes it may`)
      }
      yield chunk
    }
    if (size === undefined || this.#received === size || this.#closed) return
    throw new Truncated(`it ended after ${this.#received} of ${size} bytes`)
  }

  /** Goes on after `err`, or throws what it means. */
  async #resume(err: unknown, failures: number): Promise<void> {
    const { stage, host, reopen } = this.#options
    this.#answer.body.destroy()
    if (!(err instanceof Truncated) && !isTransient(err)) {
      throw connectionFailure(err, stage, host, this.#ctx.signal)
    }
    if (reopen === undefined || failures >= mostRetries || this.#ctx.signal.aborted) {
      if (err instanceof Truncated) throw truncated(this.#options, err)
      throw connectionFailure(err, stage, host, this.#ctx.signal)
    }
    this.#ctx.log.debug('registry body is taken up again', { host, offset: this.#received })
    this.#answer = await reopen(this.#received)
    this.#answer.body.on('error', ignore)
  }
}

/** The connection ended as if all were well, too early; or as good as ended. */
class Truncated extends Error {
  override readonly name = 'Truncated'
}

const truncated = ({ stage, host }: OpenBodyOptions, cause: Truncated): CodedError =>
  unavailable(`${stage}: host ${host} does not send all of it: ${cause.message}; try again`, {
    cause,
  })

/** Measures how fast somebody sends, while somebody waits for it. */
class Pace {
  readonly #stallMs: number
  #waited = 0
  #bytes = 0

  constructor(stallMs: number) {
    this.#stallMs = stallMs
  }

  async *timed(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
    let since = performance.now()
    for await (const chunk of source) {
      this.#waited += performance.now() - since
      this.#bytes += chunk.length
      this.#check()
      yield chunk
      since = performance.now()
    }
  }

  #check(): void {
    if (this.#waited < this.#stallMs) return
    const isSlow = this.#bytes < (slowest * this.#waited) / 1000
    if (isSlow)
      throw new Truncated(`it brings ${this.#bytes} bytes in ${Math.round(this.#waited)} ms`)
    this.#waited = 0
    this.#bytes = 0
  }
}

/** The bytes as they are meant: nobody asks for `Content-Encoding`, and some use it all the same. */
function decoded({ body, headers }: Answer): AsyncIterable<Uint8Array> {
  const encodings = encodingsOf(headers['content-encoding'])
  let stream: Readable = body
  for (const encoding of encodings.toReversed()) {
    const open = decoders[encoding]
    if (open === undefined) throw unimplemented(`content encoding ${JSON.stringify(encoding)}`)
    const from = stream
    const to = open()
    from.on('error', (err: Error) => to.destroy(err))
    stream = from.pipe(to)
  }
  return stream as AsyncIterable<Uint8Array>
}

/** What `Content-Encoding` says was done to a body, first thing first. */
export const encodingsOf = (value: string | undefined): readonly string[] =>
  (value ?? '')
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '' && name !== 'identity')

const decoders: Readonly<Record<string, () => NodeJS.ReadWriteStream & Readable>> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  zstd: createZstdDecompress,
}

const ignore = (): void => undefined
