/** What comes of a call that cannot begin yet: its replies, once it has. */
export class LateReplies implements AsyncIterableIterator<unknown> {
  readonly #replies: Promise<AsyncIterator<unknown>>

  /** `started` gives the replies of the call, wrapped: a stream that is awaited would be no stream. */
  constructor(started: Promise<{ readonly value: unknown }>) {
    this.#replies = started.then(({ value }) => iteratorOf(value))
    // Whoever reads hears of it.
    this.#replies.catch(() => undefined)
  }

  async next(): Promise<IteratorResult<unknown>> {
    return await (await this.#replies).next()
  }

  /** Cancels the call; one that never began needs no cancelling. */
  async return(): Promise<IteratorResult<unknown>> {
    const replies = await this.#replies.catch(() => undefined)
    await replies?.return?.()
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}

function iteratorOf(value: unknown): AsyncIterator<unknown> {
  if (typeof value !== 'object' || value === null || !(Symbol.asyncIterator in value)) {
    throw new TypeError('the call has no stream of replies')
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it has the method that makes it one
  return (value as AsyncIterable<unknown>)[Symbol.asyncIterator]()
}
