/*
 * A stream is one request and its response (RFC 9113 §5, §8.1). Here it has two halves that end
 * each for itself, and is closed when the response has ended or somebody has reset it:
 *
 *               request: HEADERS, DATA ..., [trailers]
 *   client  ------------------------------------------->  server
 *           <-------------------------------------------
 *               response: HEADERS, DATA ..., [trailers]
 *
 * A request that is still being sent when its response has ended is cut with RST_STREAM(NO_ERROR).
 */
import type { HeaderBlock, HeaderList } from './header-block.ts'
import type { HpackEncoder } from './hpack-encoder.ts'
import type { Outbox } from './outbox.ts'
import { ErrorCode, Flag, FrameType, largestWindowBytes } from './protocol.ts'
import type { Sender, Sending } from './sender.ts'
import { SendQueue } from './send-queue.ts'

/** How a stream ended: the response was complete, one side reset it, or the connection is gone. */
export type StreamEnd = 'finished' | 'reset by peer' | 'reset by us' | 'connection lost'

/** Who hears what arrives on a stream. Nothing is called after `onClose`. */
export interface StreamReceiver {
  /** The headers of a response; a client must have it. */
  onHeaders?(block: HeaderBlock, end: boolean): void
  /**
   * Data, of which each byte must be given back with `credit` sooner or later. An empty chunk comes
   * only with the end. `end` says that the other half has ended.
   */
  onData(chunk: Buffer, end: boolean): void
  /** The other half has ended with trailers. */
  onTrailers?(block: HeaderBlock): void
  /** What could not be sent at once has been sent. */
  onDrain?(): void
  /** The stream is over. The code is an `ErrorCode`. */
  onClose(end: StreamEnd, code: number): void
}

/** The connection, as its streams see it. */
export interface StreamHost {
  readonly server: boolean
  readonly outbox: Outbox
  readonly sender: Sender
  readonly encoder: HpackEncoder
  /** The window each stream grants, bytes. */
  readonly windowBytes: number
  /** The stream has closed: forget it. */
  remove(stream: Http2Stream, resetByUs: boolean): void
}

/** Above this much that could not be sent a writer should wait, bytes. */
const highWater = 64 * 1024
const none: HeaderList = []
const noData = Buffer.alloc(0)

/** One stream; a server is given them, a client makes them with `request`. */
export class Http2Stream implements Sending {
  readonly #host: StreamHost
  /** Set by whoever wants to hear of the stream, before it returns to the event loop. */
  receiver: StreamReceiver | undefined
  #id: number
  #sendWindow: number
  #receiveWindow: number
  /** Bytes given back by the receiver that the peer does not know of. */
  #credit = 0
  #headersSent = false
  #headersReceived = false
  #localEnded = false
  #remoteEnded = false
  #closed = false
  #queue: SendQueue | undefined
  #offered = false
  #writerWaits = false
  #trailers: { readonly repeated: HeaderList; readonly once: HeaderList } | undefined
  /** How much of the other half is still to come, if it has said so. */
  #expected: number

  /** A client's stream that may not be opened yet has the id 0. */
  constructor(host: StreamHost, id: number, receiveWindow: number, expected = Number.NaN) {
    this.#host = host
    this.#id = id
    this.#sendWindow = host.sender.initialWindow
    this.#receiveWindow = receiveWindow
    this.#expected = expected
  }

  get id(): number {
    return this.#id
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Whether our half has begun. */
  get headersSent(): boolean {
    return this.#headersSent
  }

  /** Whether the peer's half has begun; of a client's stream. */
  get headersReceived(): boolean {
    return this.#headersReceived
  }

  /** Whether the peer's half has ended. */
  get remoteEnded(): boolean {
    return this.#remoteEnded
  }

  /** Begins our half: what is often the same in `repeated`, the rest in `once`. */
  sendHeaders(repeated: HeaderList, once: HeaderList = none, end = false): void {
    if (this.#closed || this.#headersSent) return
    this.#headersSent = true
    this.#writeHeaders(repeated, once, end)
    if (!end) return
    this.#localEnded = true
    this.#sent()
  }

  /**
   * Sends data, which must not change any more until `sent` is called, if ever. False means that the
   * writer should wait for `onDrain`; it was taken all the same. After the end, and on a closed
   * stream, nothing happens.
   */
  sendData(data: Uint8Array, end = false, sent?: () => void): boolean {
    if (this.#closed || this.#localEnded) return true
    this.#localEnded = end
    const { sender, outbox } = this.#host
    const { length } = data
    if (length === 0 && !end) return true
    const waits = this.#queue !== undefined || this.#id === 0
    if (!waits && (length === 0 || length <= sender.room(this.#sendWindow))) {
      this.#sendWindow -= length
      sender.window -= length
      outbox.frame(FrameType.data, end ? Flag.endStream : 0, this.#id, length)
      outbox.bytes(data)
      if (sent) outbox.whenTaken(sent)
      if (end) this.#sent()
      return true
    }
    this.#queue ??= new SendQueue()
    this.#queue.push(data, sent)
    this.#offer()
    this.#writerWaits = this.#queue !== undefined && this.#queue.bytes > highWater
    return !this.#writerWaits
  }

  /** Ends our half with trailers, after the data. */
  sendTrailers(repeated: HeaderList, once: HeaderList = none): void {
    if (this.#closed || this.#localEnded) return
    this.#localEnded = true
    if (this.#queue || this.#id === 0) {
      this.#queue ??= new SendQueue()
      this.#trailers = { repeated, once }
      this.#offer()
      return
    }
    this.#writeHeaders(repeated, once, true)
    this.#sent()
  }

  /** Ends the stream at once, with an `ErrorCode`. What has not been sent is dropped. */
  reset(code: number): void {
    if (this.#closed) return
    if (this.#id > 0) this.#host.outbox.rstStream(this.#id, code)
    this.close('reset by us', code)
  }

  /** Gives `bytes` of received data back: the peer may send as much again. */
  credit(bytes: number): void {
    if (this.#closed || this.#remoteEnded) return
    this.#credit += bytes
    if (this.#credit * 4 < this.#host.windowBytes) return
    this.#host.outbox.windowUpdate(this.#id, this.#credit)
    this.#receiveWindow += this.#credit
    this.#credit = 0
  }

  /* What follows is for the connection. */

  /** Opens a client's stream that has waited, and begins the request. */
  open(id: number, repeated: HeaderList, once: HeaderList): void {
    this.#id = id
    this.#sendWindow = this.#host.sender.initialWindow
    this.sendHeaders(repeated, once)
    if (this.#queue?.bytes === 0) this.sendOne()
    else this.#offer()
  }

  /** Data for our receiver; `flowBytes` is what it counts for in the window. Gives an `ErrorCode`. */
  receiveData(data: Buffer, flowBytes: number, end: boolean): number {
    if (this.#remoteEnded) return ErrorCode.streamClosed
    if (flowBytes > this.#receiveWindow) return ErrorCode.flowControlError
    this.#receiveWindow -= flowBytes
    this.#expected -= data.length
    if (this.#expected < 0 || (end && this.#expected > 0)) return ErrorCode.protocolError
    this.#remoteEnded = end
    if (flowBytes > data.length) this.credit(flowBytes - data.length)
    if (data.length > 0 || end) this.receiver?.onData(data, end)
    if (end && !this.#host.server) this.#responded()
    return ErrorCode.noError
  }

  /** The first block of a response; it may be all of it. */
  receiveHeaders(block: HeaderBlock, end: boolean): void {
    this.#headersReceived = true
    this.#remoteEnded = end
    this.receiver?.onHeaders?.(block, end)
    if (end) this.#responded()
  }

  /** The other half ends without a word: a request of headers alone, or empty trailers. */
  receiveEnd(): void {
    this.#remoteEnded = true
    this.receiver?.onData(noData, true)
  }

  /** Trailers, which end the other half. Gives an `ErrorCode`. */
  receiveTrailers(block: HeaderBlock): number {
    if (this.#expected > 0) return ErrorCode.protocolError
    this.#remoteEnded = true
    if (this.receiver?.onTrailers) this.receiver.onTrailers(block)
    else this.receiver?.onData(noData, true)
    if (!this.#host.server) this.#responded()
    return ErrorCode.noError
  }

  /** The peer takes more data, or less (after SETTINGS). False if that is more than can be. */
  widen(bytes: number): boolean {
    this.#sendWindow += bytes
    if (this.#sendWindow > largestWindowBytes) return false
    this.#offer()
    return true
  }

  /** Sends one frame of what waits. @returns whether another one could be sent now. */
  sendOne(): boolean {
    this.#offered = false
    const queue = this.#queue
    if (this.#closed || !queue) return false
    const { sender, outbox } = this.#host
    const bytes = Math.max(
      0,
      Math.min(queue.bytes, this.#sendWindow, sender.window, sender.maxFrameBytes),
    )
    const drained = bytes === queue.bytes
    const last = drained && this.#localEnded && !this.#trailers
    if (bytes > 0 || last) {
      this.#sendWindow -= bytes
      sender.window -= bytes
      outbox.frame(FrameType.data, last ? Flag.endStream : 0, this.#id, bytes)
      queue.moveTo(outbox, bytes)
    }
    if (drained) this.#drained()
    else this.#offered = this.#sendWindow > 0
    return this.#offered
  }

  /** Closes the stream without telling the peer. */
  close(end: StreamEnd, code: number): void {
    if (this.#closed) return
    this.#closed = true
    this.#queue = undefined
    this.#trailers = undefined
    this.#host.remove(this, end === 'reset by us')
    this.receiver?.onClose(end, code)
  }

  #offer(): void {
    if (this.#offered || !this.#queue || this.#id === 0) return
    if (this.#sendWindow <= 0) return
    this.#offered = true
    this.#host.sender.offer(this)
  }

  #drained(): void {
    this.#queue = undefined
    const trailers = this.#trailers
    if (trailers) this.#writeHeaders(trailers.repeated, trailers.once, true)
    if (this.#localEnded) this.#sent()
    if (!this.#writerWaits) return
    this.#writerWaits = false
    if (!this.#closed) this.receiver?.onDrain?.()
  }

  /** Our half has gone out. */
  #sent(): void {
    if (!this.#host.server || this.#closed) return
    if (!this.#remoteEnded) this.#host.outbox.rstStream(this.#id, ErrorCode.noError)
    this.#finish(!this.#remoteEnded)
  }

  /** A client has its response. */
  #responded(): void {
    if (this.#closed) return
    if (!this.#localEnded || this.#queue) this.#host.outbox.rstStream(this.#id, ErrorCode.noError)
    this.#finish(false)
  }

  #finish(resetByUs: boolean): void {
    this.#closed = true
    this.#queue = undefined
    this.#host.remove(this, resetByUs)
    this.receiver?.onClose('finished', ErrorCode.noError)
  }

  #writeHeaders(repeated: HeaderList, once: HeaderList, end: boolean): void {
    const { encoder, outbox, sender } = this.#host
    const block = encoder.encode(repeated, once)
    const endStream = end ? Flag.endStream : 0
    const max = sender.maxFrameBytes
    if (block.length <= max) {
      outbox.frame(FrameType.headers, Flag.endHeaders | endStream, this.#id, block.length)
      outbox.bytes(block)
      return
    }
    outbox.frame(FrameType.headers, endStream, this.#id, max)
    outbox.bytes(block.subarray(0, max))
    for (let at = max; at < block.length; at += max) {
      const piece = block.subarray(at, at + max)
      const flags = at + max >= block.length ? Flag.endHeaders : 0
      outbox.frame(FrameType.continuation, flags, this.#id, piece.length)
      outbox.bytes(piece)
    }
  }
}
