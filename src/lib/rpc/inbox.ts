/** What the owner of an inbox wants to know. */
export interface InboxHooks {
  /** The reader has taken everything: more may be pushed. */
  readonly onEmpty?: () => void
  /** The reader has left before the end. */
  readonly onReturn?: () => void
}

/**
 * A queue between a transport, which pushes what arrives, and the one who reads it with `for await`.
 *
 * It has no bound of its own: the transport stops reading its socket while `size` is not zero, and
 * goes on at `onEmpty`.
 */
export class Inbox<T> implements AsyncIterableIterator<T> {
  readonly #hooks: InboxHooks
  readonly #waiting: PromiseWithResolvers<IteratorResult<T>>[] = []
  #items: T[] = []
  #ended = false
  #error: { readonly err: unknown } | undefined

  constructor(hooks: InboxHooks = {}) {
    this.#hooks = hooks
  }

  /** How many items wait for the reader. */
  get size(): number {
    return this.#items.length
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Gives the reader one more item; ignored after the end. */
  push(item: T): void {
    if (this.#ended) return
    const waiting = this.#waiting.shift()
    if (waiting) waiting.resolve({ done: false, value: item })
    else this.#items.push(item)
  }

  /** No more items come: after those that wait, the reader gets `error`, or just the end. */
  end(error?: { readonly err: unknown }): void {
    if (this.#ended) return
    this.#ended = true
    this.#error = error
    for (const waiting of this.#waiting.splice(0)) this.#finish(waiting)
  }

  /** Like `end`, but the items that wait are dropped: the reader gets `err` next. */
  fail(err: unknown): void {
    if (this.#ended && this.#items.length === 0) return
    this.#items = []
    this.#ended = false
    this.end({ err })
  }

  async next(): Promise<IteratorResult<T>> {
    const item = this.#items.shift()
    if (item !== undefined) {
      if (this.#items.length === 0 && !this.#ended) this.#hooks.onEmpty?.()
      return { done: false, value: item }
    }
    const waiting = Promise.withResolvers<IteratorResult<T>>()
    if (this.#ended) {
      this.#finish(waiting)
    } else {
      this.#waiting.push(waiting)
      this.#hooks.onEmpty?.()
    }
    return await waiting.promise
  }

  return(): Promise<IteratorResult<T>> {
    const early = !this.#ended
    this.#items = []
    this.#error = undefined
    this.end()
    if (early) this.#hooks.onReturn?.()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** The error is given once; a reader that asks again gets the end. */
  #finish(waiting: PromiseWithResolvers<IteratorResult<T>>): void {
    const error = this.#error
    this.#error = undefined
    if (error) waiting.reject(error.err)
    else waiting.resolve({ done: true, value: undefined })
  }
}
