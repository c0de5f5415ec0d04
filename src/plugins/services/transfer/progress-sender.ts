import type { Context } from '#core/context.ts'
import type { Stream } from '#core/streaming/streaming.ts'
import type { Progress, ReportProgress } from '#core/transfer/transfer.ts'
import { ProgressSchema } from '#gen/types/transfer/progress_pb.ts'
import { deadlineExceeded, describe } from '#lib/errors/errors.ts'
import { pack } from '#proxy/convert/pack.ts'
import { progressToProto } from '#proxy/convert/transfer.ts'

/** News that only say how many bytes more are told no more often than this, in ms. */
const countMs = 100
/** So many changes are told at once: a transfer of few things is told of as it is. */
const promptChanges = 16
/** Further ones wait this long for more of them, in ms: many small things then cost few writes. */
const changeMs = 20
/** How long a client that is slow to read keeps the end of its transfer waiting, in ms. */
const lastMs = 2000
/** With more than this waiting, only the last state of each name is kept. */
const mostWaiting = 1000

interface News {
  readonly progress: Progress
  /** It only says how many bytes more. */
  readonly isCount: boolean
}

/**
 * Tells a client how far its transfer is. A change of what happens is told soon, a count of bytes
 * every so often, the last state always. A client that reads slowly gets the latest counts, one that
 * has gone nothing; the transfer waits for neither.
 *
 * Disposal sends what is left and closes the stream.
 */
export class ProgressSender implements AsyncDisposable {
  readonly #ctx: Context
  readonly #stream: Stream
  readonly #late = new AbortController()
  /** What is to be sent, in order. */
  #queue: News[] = []
  readonly #lastEvent = new Map<string, string>()
  #sending: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  /** When that ends, on the clock of `performance.now`. */
  #due = 0
  #changes = 0
  #gone = false

  constructor(ctx: Context, stream: Stream) {
    this.#ctx = { ...ctx, signal: AbortSignal.any([ctx.signal, this.#late.signal]) }
    this.#stream = stream
  }

  readonly report: ReportProgress = (progress) => {
    if (this.#gone) return
    const { name = '', event } = progress
    const isCount = this.#lastEvent.get(name) === event
    this.#lastEvent.set(name, event)
    this.#put({ progress, isCount })
    if (isCount) this.#flushWithin(countMs)
    else if (this.#changes++ < promptChanges) this.#flush()
    else this.#flushWithin(changeMs)
  }

  #flushWithin(ms: number): void {
    const due = performance.now() + ms
    if (this.#timer !== undefined && this.#due <= due) return
    clearTimeout(this.#timer)
    this.#due = due
    this.#timer = setTimeout(() => this.#flush(), ms)
  }

  /** A count takes the place of one that waits; what begins is told even if it has ended meanwhile. */
  #put(news: News): void {
    const crowded = this.#queue.length > mostWaiting
    const at = this.#queue.findLastIndex(({ progress }) => progress.name === news.progress.name)
    const before = this.#queue[at]
    const isOlder = before?.isCount === true && before.progress.event === news.progress.event
    if (before && (crowded || isOlder)) this.#queue[at] = news
    else this.#queue.push(news)
  }

  #flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined
    })
  }

  async #send(): Promise<void> {
    try {
      for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
        await this.#stream.send(this.#ctx, pack(ProgressSchema, progressToProto(next.progress)))
      }
    } catch (err) {
      this.#gone = true
      this.#queue = []
      this.#ctx.log.debug('progress not sent', { error: describe(err) })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    using _late = setTimeout(() => this.#late.abort(deadlineExceeded('progress')), lastMs)
    do {
      this.#flush()
      await this.#sending
    } while (this.#queue.length > 0)
    this.#gone = true
    this.#stream.close()
  }
}
