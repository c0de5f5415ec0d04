import { isAsyncIterable } from '#lib/async/is-async-iterable.ts'
import type { Call } from '#lib/rpc/rpc.ts'
import { toStatus } from '#lib/rpc/status.ts'
import type { CallObserver, RpcContext } from '#plugins/types.ts'

import { type Target, targetOf, toLine } from './record.ts'

/** Whether there is a line for a call; asked when it begins. */
export type Chosen = (call: Call) => boolean

const ok = 0
const canceled = 1

/** Writes a line for each chosen call when it has ended. */
export function auditor(chosen: Chosen, write: (line: string) => void): CallObserver {
  return {
    interceptor(call, ctx, next, input) {
      if (!chosen(call)) return next(ctx)
      const record = new Recording(call, ctx, write)
      const given = isAsyncIterable(input) ? record.watch(input) : record.about(input)
      const { methodKind } = call.method
      const streams = methodKind === 'server_streaming' || methodKind === 'bidi_streaming'
      return streams ? record.stream(() => next(ctx, given)) : record.one(() => next(ctx, given))
    },
  }
}

class Recording {
  readonly #call: Call
  readonly #namespace: string | undefined
  readonly #write: (line: string) => void
  readonly #began = performance.now()
  #target: Target = {}

  constructor(call: Call, { namespace }: RpcContext, write: (line: string) => void) {
    this.#call = call
    this.#namespace = namespace
    this.#write = write
  }

  about(request: unknown): unknown {
    this.#target = targetOf(request)
    return request
  }

  /** What a stream of requests is about, its first one says. */
  async *watch(requests: AsyncIterable<unknown>): AsyncGenerator {
    let first = true
    for await (const request of requests) {
      if (first) this.about(request)
      first = false
      yield request
    }
  }

  async one(run: () => unknown): Promise<unknown> {
    try {
      const reply = await run()
      this.#end(ok)
      return reply
    } catch (err) {
      this.#end(toStatus(err).code)
      throw err
    }
  }

  async *stream(run: () => unknown): AsyncGenerator {
    let code = canceled
    try {
      const replies = await run()
      if (!isAsyncIterable(replies)) throw new Error('the method did not give a stream')
      for await (const reply of replies) yield reply
      code = ok
    } catch (err) {
      code = toStatus(err).code
      throw err
    } finally {
      this.#end(code)
    }
  }

  #end(code: number): void {
    const ms = performance.now() - this.#began
    this.#write(toLine(this.#call, this.#namespace, this.#target, { code, ms }))
  }
}
