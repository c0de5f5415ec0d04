import type { Socket } from 'node:net'

import { Http2Connection, type Http2Options } from './connection.ts'
import type { HeaderBlock, HeaderList } from './header-block.ts'
import { ErrorCode, Http2Error, largestStreamId, preface } from './protocol.ts'
import type { Role } from './role.ts'
import { Http2Stream, type StreamReceiver } from './stream.ts'

/** How a client keeps its connection. */
export interface Http2ClientOptions extends Http2Options {
  /** The connection is over; the error is why, unless both sides agreed. */
  readonly onClose?: (err: Error | undefined) => void
}

/** The client's end of a connection. */
export interface Http2ClientConnection {
  /** Whether `request` may be called: not after the server has said that it leaves. */
  readonly open: boolean
  /** Whether the connection is gone. */
  readonly ended: boolean
  /**
   * Sends a request: its headers, `repeated` those that are often the same. The body follows on the
   * stream. It may wait until the server takes one more.
   *
   * @throws an Error when the connection is not open.
   */
  request(repeated: HeaderList, once: HeaderList, receiver: StreamReceiver): Http2Stream
  /** Closes now; streams that are open are lost. */
  destroy(err?: Error): void
}

/** Speaks HTTP/2 on a connected socket, without waiting for the server's word. */
export function openHttp2(socket: Socket, options: Http2ClientOptions = {}): Http2ClientConnection {
  return new ClientConnection(socket, options)
}

interface Waiting {
  readonly stream: Http2Stream
  readonly repeated: HeaderList
  readonly once: HeaderList
}

class ClientConnection implements Role, Http2ClientConnection {
  readonly server = false
  readonly #options: Http2ClientOptions
  readonly #connection: Http2Connection
  #next = 1
  #most = Number.POSITIVE_INFINITY
  #waiting: Waiting[] = []
  #leaving = false

  constructor(socket: Socket, options: Http2ClientOptions) {
    this.#options = options
    socket.write(preface)
    this.#connection = new Http2Connection(socket, this, options)
    socket.on('data', (chunk: Buffer) => this.#connection.receive(chunk))
  }

  get open(): boolean {
    return !this.#leaving && !this.ended && this.#next < largestStreamId
  }

  get ended(): boolean {
    return this.#connection.ended
  }

  request(repeated: HeaderList, once: HeaderList, receiver: StreamReceiver): Http2Stream {
    if (!this.open) throw new Error('the connection takes no more requests')
    const connection = this.#connection
    const stream = new Http2Stream(connection, 0, connection.streamWindow)
    stream.receiver = receiver
    const waiting = { stream, repeated, once }
    if (connection.streams.size < this.#most && this.#waiting.length === 0) this.#begin(waiting)
    else this.#waiting.push(waiting)
    return stream
  }

  destroy(err?: Error): void {
    this.#connection.destroy(err)
  }

  lastStream(): number {
    return 0
  }

  isIdle(stream: number): boolean {
    return stream % 2 === 0 || stream >= this.#next
  }

  onSettings(maxConcurrentStreams: number | undefined): void {
    this.#most = maxConcurrentStreams ?? this.#most
    this.onRemove()
  }

  onGoaway(lastStream: number, code: number, debug: string): void {
    this.#leaving = true
    if (code !== ErrorCode.noError) {
      const why = `server sent GOAWAY with error code ${code}${debug ? `: ${debug}` : ''}`
      this.#connection.explain(new Error(why))
    }
    for (const stream of this.#connection.streams.values()) {
      if (stream.id > lastStream) stream.close('reset by peer', ErrorCode.refusedStream)
    }
    for (const { stream } of this.#waiting.splice(0)) {
      stream.close('reset by peer', ErrorCode.refusedStream)
    }
    this.onRemove()
  }

  onRemove(): void {
    const { streams } = this.#connection
    while (this.#waiting.length > 0 && streams.size < this.#most && !this.ended) {
      const waiting = this.#waiting.shift()
      if (waiting && !waiting.stream.closed) this.#begin(waiting)
    }
    if (this.#leaving && streams.size === 0) this.#connection.end()
  }

  onClose(err: Error | undefined): void {
    for (const { stream } of this.#waiting.splice(0)) {
      stream.close('connection lost', ErrorCode.internalError)
    }
    this.#options.onClose?.(err)
  }

  onBlock(id: number, block: HeaderBlock, end: boolean): void {
    if (this.isIdle(id)) throw new Http2Error(ErrorCode.protocolError, 'HEADERS on an idle stream')
    const stream = this.#connection.streams.get(id)
    if (!stream) return // its answer has come too late
    if (block.tooLarge || !block.isValid('response')) {
      stream.reset(block.tooLarge ? ErrorCode.enhanceYourCalm : ErrorCode.protocolError)
      return
    }
    const interim = block.fields[1]?.startsWith('1') ?? false
    if (!interim) stream.receiveHeaders(block, end)
    else if (end) stream.reset(ErrorCode.protocolError)
  }

  #begin({ stream, repeated, once }: Waiting): void {
    const id = this.#next
    this.#next += 2
    this.#connection.streams.set(id, stream)
    stream.open(id, repeated, once)
  }
}
