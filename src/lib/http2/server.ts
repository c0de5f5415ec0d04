import type { Socket } from 'node:net'

import { Http2Connection, type Http2Options } from './connection.ts'
import type { HeaderBlock } from './header-block.ts'
import { ErrorCode, FrameType, Http2Error, largestStreamId, preface } from './protocol.ts'
import type { Role } from './role.ts'
import { Http2Stream } from './stream.ts'

/** How a server serves a connection. */
export interface Http2ServerOptions extends Http2Options {
  /**
   * A request has come; `end` if it has no body. Whoever takes it sets `stream.receiver`, or answers
   * at once.
   */
  readonly onStream: (stream: Http2Stream, headers: HeaderBlock, end: boolean) => void
  /** The connection is over; the error is why, unless both sides agreed. */
  readonly onClose?: (err: Error | undefined) => void
  /** Requests at a time; more are refused and may be tried again. 100 000 by default. */
  readonly maxConcurrentStreams?: number
  /** How long a client may take to say what it speaks, ms; 2 min by default. */
  readonly handshakeMs?: number
}

/** A connection that is being served. */
export interface Http2ServerConnection {
  /** Lets the requests that have come be answered, takes no more, and closes. */
  shutdown(): void
  /** Closes now; streams that are open are lost. */
  destroy(err?: Error): void
}

const defaultStreams = 100_000
const defaultHandshakeMs = 120_000
/** How long a client may take to answer before it counts as told that we shut down, ms. */
const farewellMs = 1_000
const question = Buffer.from('wharf by')

/** Serves HTTP/2, with prior knowledge or behind TLS, on a socket that is connected. */
export function acceptHttp2(socket: Socket, options: Http2ServerOptions): Http2ServerConnection {
  return new ServerConnection(socket, options)
}

/*
 * A shutdown has two steps, so that no request is lost that the client has already sent: GOAWAY with
 * the largest stream id says that no more shall come; when the PING behind it is answered, all that
 * was under way has come, and GOAWAY with the last of it makes that final.
 */
type Phase = 'open' | 'leaving' | 'left'

class ServerConnection implements Role, Http2ServerConnection {
  readonly server = true
  readonly maxConcurrentStreams: number
  readonly #options: Http2ServerOptions
  readonly #connection: Http2Connection
  #last = 0
  #prefaceBytes = 0
  #phase: Phase = 'open'
  #timer: NodeJS.Timeout | undefined

  constructor(socket: Socket, options: Http2ServerOptions) {
    this.#options = options
    this.maxConcurrentStreams = options.maxConcurrentStreams ?? defaultStreams
    this.#connection = new Http2Connection(socket, this, options)
    this.#timer = setTimeout(() => {
      this.#connection.fail(new Http2Error(ErrorCode.settingsTimeout, 'no SETTINGS in time'))
    }, options.handshakeMs ?? defaultHandshakeMs)
    this.#timer.unref()
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
  }

  shutdown(): void {
    const connection = this.#connection
    if (this.#phase !== 'open' || connection.ended) return
    this.#phase = 'leaving'
    connection.outbox.goaway(largestStreamId, ErrorCode.noError, 'server is stopping')
    connection.outbox.frame(FrameType.ping, 0, 0, question.length)
    connection.outbox.bytes(question)
    this.#wait(farewellMs, () => this.onPong())
  }

  destroy(err?: Error): void {
    this.#connection.destroy(err)
  }

  lastStream(): number {
    return this.#last
  }

  isIdle(stream: number): boolean {
    return stream % 2 === 0 || stream > this.#last
  }

  onSettings(): void {
    if (this.#phase === 'open') clearTimeout(this.#timer)
  }

  onPong(): void {
    if (this.#phase !== 'leaving') return
    this.#phase = 'left'
    clearTimeout(this.#timer)
    this.#connection.outbox.goaway(this.#last, ErrorCode.noError, 'server is stopping')
    this.onRemove()
  }

  onRemove(): void {
    if (this.#phase === 'left' && this.#connection.streams.size === 0) this.#connection.end()
  }

  onClose(err: Error | undefined): void {
    clearTimeout(this.#timer)
    this.#options.onClose?.(err)
  }

  onBlock(id: number, block: HeaderBlock, end: boolean): void {
    if (id % 2 === 0) throw violation('a client used an even stream id')
    if (id <= this.#last) throw violation('a stream id is used twice or out of order')
    this.#last = id
    const connection = this.#connection
    const refusal = this.#refusal(block)
    if (refusal !== ErrorCode.noError) {
      connection.countReset()
      connection.outbox.rstStream(id, refusal)
      return
    }
    const stream = new Http2Stream(connection, id, connection.streamWindow, block.contentLength)
    connection.streams.set(id, stream)
    this.#options.onStream(stream, block, end)
    if (end && !stream.closed) stream.receiveEnd()
  }

  #refusal(block: HeaderBlock): number {
    if (block.tooLarge) return ErrorCode.frameSizeError
    if (!block.isValid('request')) return ErrorCode.protocolError
    const full = this.#connection.streams.size >= this.maxConcurrentStreams
    return full || this.#phase === 'left' ? ErrorCode.refusedStream : ErrorCode.noError
  }

  #receive(chunk: Buffer): void {
    let rest = chunk
    if (this.#prefaceBytes < preface.length) {
      const part = Math.min(preface.length - this.#prefaceBytes, chunk.length)
      const expected = preface.subarray(this.#prefaceBytes, this.#prefaceBytes + part)
      if (!expected.equals(chunk.subarray(0, part))) {
        this.#connection.fail(violation('the client does not speak HTTP/2'))
        return
      }
      this.#prefaceBytes += part
      rest = chunk.subarray(part)
      if (rest.length === 0) return
    }
    this.#connection.receive(rest)
  }

  #wait(ms: number, then: () => void): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(then, ms)
    this.#timer.unref()
  }
}

const violation = (what: string): Http2Error => new Http2Error(ErrorCode.protocolError, what)
