/*
 * Spans: what took how long, inside what. Code that makes them sees nothing but this, and makes none
 * where there is no `Trace`: without tracing there is nothing to pay for.
 */

export type Attributes = Readonly<Record<string, string | number | boolean>>

export interface SpanOptions {
  /** Which side of a call it is; a part of this program unless given. */
  readonly kind?: 'server' | 'client'
  readonly attributes?: Attributes
  /** When it began, in ms since the epoch; now unless given. */
  readonly startTime?: number
  /** Metadata of a call: what it says of the caller's span goes before the one this is inside of. */
  readonly caller?: ReadonlyMap<string, string>
}

/** Where what happens now belongs: inside a span, or inside none yet. */
export interface Trace {
  /** Begins a span inside this one. */
  begin(name: string, options?: SpanOptions): Span
  /** Metadata that makes what another process does part of this, as W3C Trace Context says. */
  readonly headers: Readonly<Record<string, string>>
}

/** A span that has begun. */
export interface Span extends Trace {
  /** Of the trace it is part of: 32 hexadecimal digits. */
  readonly traceId: string
  set(attributes: Attributes): void
  /** Ends it, well or with an error; `time` in ms since the epoch. Only the first call counts. */
  end(error?: unknown, time?: number): void
}

/** Ends `span` when `work` has: now, with a promise, or with an async iterable. Gives `work`. */
export function endWith<T>(span: Span, work: () => T): T {
  try {
    const result = work()
    if (isPromise(result)) {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it settles as `result` does
      return settled(span, result) as T
    }
    if (isAsyncIterable(result)) {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it iterates as `result` does
      return drained(span, result) as T
    }
    span.end()
    return result
  } catch (err) {
    span.end(err)
    throw err
  }
}

async function settled(span: Span, promise: PromiseLike<unknown>): Promise<unknown> {
  try {
    const value = await promise
    if (isAsyncIterable(value)) return drained(span, value)
    span.end()
    return value
  } catch (err) {
    span.end(err)
    throw err
  }
}

async function* drained(span: Span, items: AsyncIterable<unknown>): AsyncIterable<unknown> {
  try {
    yield* items
  } catch (err) {
    span.end(err)
    throw err
  } finally {
    span.end()
  }
}

const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && 'then' in value

const isAsyncIterable = (value: unknown): value is AsyncIterable<unknown> =>
  typeof value === 'object' && value !== null && Symbol.asyncIterator in value
