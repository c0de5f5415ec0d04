import type { DispatchOptions } from '#lib/rpc/dispatch.ts'
import type { Call, Connection, ServiceClient, ServiceImpl } from '#lib/rpc/rpc.ts'

import { Test, allTexts, text, textOf } from './service.ts'

/** What a transport of the suite is told to serve. */
export interface OpenOptions extends DispatchOptions<Call> {
  readonly stopMs?: number
}

/** A server and a client of it. Disposing both must leave nothing. */
export interface Opened {
  readonly server: AsyncDisposable & { readonly activeCalls: number }
  readonly connection: Connection
}

/** What not every transport can do. */
export interface Supports {
  /** A client can tell the server that it has lost interest in one call. */
  readonly cancel: boolean
  /** A slow reader holds back the writer of its stream. */
  readonly flowControl: boolean
  readonly maxBytes: number
}

/** An implementation of the suite's service. */
export type Impl = ServiceImpl<typeof Test, Call>

/** A server with a client of it; disposing it stops both. */
export class Serving implements AsyncDisposable {
  readonly server: Opened['server']
  readonly connection: Connection

  constructor({ server, connection }: Opened) {
    this.server = server
    this.connection = connection
  }

  get client(): ServiceClient<typeof Test> {
    return this.connection.client(Test)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connection[Symbol.asyncDispose]()
    await this.server[Symbol.asyncDispose]()
  }
}

/** Serves an implementation over the transport under test. */
export type Serve = (impl: Impl, options?: Partial<OpenOptions>) => Promise<Serving>

/** What a method of each kind does with text, unless a test wants something else. */
export const echo: Impl = {
  unary: (request) => request,
  expand: async function* (request) {
    for (const word of textOf(request).split(' ')) yield await Promise.resolve(text(word))
  },
  collect: async (requests) => text((await allTexts(requests)).join(' ')),
  chat: async function* (requests) {
    for await (const request of requests) yield text(`${textOf(request)}!`)
  },
}
