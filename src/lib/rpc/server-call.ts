import type { DescMethod, DescService } from '@bufbuild/protobuf'

import type { CodedError } from '#lib/errors/errors.ts'

import type { Call, Peer } from './rpc.ts'
import { timedOut } from './status.ts'

const longestTimer = 2 ** 31 - 1

/** What a transport knows about a call when its headers have come. */
export interface ServerCallInit {
  readonly transport: 'grpc' | 'ttrpc'
  readonly service: DescService
  readonly method: DescMethod
  readonly peer?: Peer | undefined
  /** Ms from now until the caller stops waiting. */
  readonly timeoutMs?: number | undefined
  /** Builds the metadata when it is first asked for. */
  readonly metadata: () => ReadonlyMap<string, string>
}

/** A call in flight. What not every call needs (signal, metadata) is made when it is asked for. */
export class ServerCall implements Call {
  readonly transport: 'grpc' | 'ttrpc'
  readonly service: DescService
  readonly method: DescMethod
  readonly peer: Peer | undefined
  readonly deadline: number | undefined
  readonly #readMetadata: () => ReadonlyMap<string, string>
  #metadata: ReadonlyMap<string, string> | undefined
  #controller: AbortController | undefined
  #reason: CodedError | undefined
  #timer: NodeJS.Timeout | undefined
  #ended = false

  constructor(init: ServerCallInit) {
    this.transport = init.transport
    this.service = init.service
    this.method = init.method
    this.peer = init.peer
    this.#readMetadata = init.metadata
    if (init.timeoutMs === undefined) return
    this.deadline = Date.now() + init.timeoutMs
    if (init.timeoutMs > longestTimer) return
    this.#timer = setTimeout(() => this.abort(timedOut()), Math.max(0, init.timeoutMs))
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController()
      if (this.#reason) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  get metadata(): ReadonlyMap<string, string> {
    this.#metadata ??= this.#readMetadata()
    return this.#metadata
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Tells the method to stop. The first reason stays; after the end it does nothing. */
  abort(reason: CodedError): void {
    if (this.#ended || this.#reason) return
    this.#reason = reason
    clearTimeout(this.#timer)
    this.#controller?.abort(reason)
  }

  /** The call has been answered: from now on its signal stays as it is. */
  end(): void {
    this.#ended = true
    clearTimeout(this.#timer)
  }
}
