import type { HeaderBlock } from '#lib/http2/header-block.ts'
import type { Dispatcher, Endpoint } from '#lib/rpc/dispatch.ts'

import { parseTimeout, toMetadata } from './headers.ts'
import { type Refusal, refusal } from './refusal.ts'

/** What the headers of a request say. */
export interface Route {
  /** What is called, or why nothing is. */
  readonly endpoint: Endpoint | undefined
  readonly refused: Refusal | undefined
  readonly timeoutMs: number | undefined
  /** The metadata, read when it is first asked for. */
  readonly metadata: () => ReadonlyMap<string, string>
}

/** Understands request headers. Clients repeat theirs call by call, so each block is read once. */
export class Router {
  readonly #dispatcher: Dispatcher
  readonly #routes = new WeakMap<HeaderBlock, Route>()

  constructor(dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher
  }

  find(headers: HeaderBlock): Route {
    const known = this.#routes.get(headers)
    if (known) return known
    const route = this.#read(headers)
    this.#routes.set(headers, route)
    return route
  }

  #read(headers: HeaderBlock): Route {
    const endpoint = this.#dispatcher.find(headers.get(':path') ?? '')
    const timeout = headers.get('grpc-timeout')
    let metadata: ReadonlyMap<string, string> | undefined
    return {
      endpoint,
      refused: refusal(this.#dispatcher, endpoint, headers),
      timeoutMs: timeout === undefined ? undefined : parseTimeout(timeout),
      metadata: () => (metadata ??= toMetadata(headers)),
    }
  }
}
