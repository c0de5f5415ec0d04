import type { Socket } from 'node:net'

import { Budget } from './budget.ts'
import { Graveyard } from './graveyard.ts'
import { HeaderAssembler } from './header-assembler.ts'
import type { HeaderBlock } from './header-block.ts'
import { FrameReader } from './frame-reader.ts'
import { HpackEncoder } from './hpack-encoder.ts'
import { KeepAlive, type KeepAliveTimes } from './keep-alive.ts'
import { Outbox } from './outbox.ts'
import {
  ErrorCode,
  Flag,
  FrameType,
  Http2Error,
  Setting,
  defaultWindowBytes,
  largestWindowBytes,
} from './protocol.ts'
import { Sender } from './sender.ts'
import { readSettings } from './settings.ts'
import type { Http2Stream, StreamHost } from './stream.ts'

/** Limits of a connection, the same for both ends. */
export interface Http2Options {
  /** Bytes a peer may send on a stream, and on the connection, ahead of us; 4 MiB by default. */
  readonly windowBytes?: number
  /** Weight of the longest header list, bytes; 64 KiB by default. */
  readonly maxHeaderListBytes?: number
  /** When a silent peer is asked whether it is there; 2 h, and 20 s for the answer, by default. */
  readonly keepAlive?: KeepAliveTimes
}

/** What is different between the ends of a connection. */
export interface Role {
  readonly server: boolean
  readonly maxConcurrentStreams?: number
  /** A header block for a stream that is not open. @throws `Http2Error` if it may not be. */
  onBlock(stream: number, block: HeaderBlock, end: boolean): void
  /** Whether a stream of that id has not been opened yet by anybody. */
  isIdle(stream: number): boolean
  /** The last stream of the peer that was or might be acted on, for GOAWAY. */
  lastStream(): number
  onSettings?(maxConcurrentStreams: number | undefined): void
  onGoaway?(lastStream: number, code: number, debug: string): void
  /** A PING that was not for keeping alive has been answered. */
  onPong?(): void
  /** A stream has been forgotten. */
  onRemove?(): void
  /** The connection is over; the streams have heard of it. */
  onClose(err: Error | undefined): void
}

const defaultWindow = 4 * 1024 * 1024
const defaultHeaderListBytes = 64 * 1024
/** A peer that reads so little is not read from, as long as it asks for more answers. */
const stalledBytes = 1024 * 1024
/** How long a peer may take to close after we have, ms. */
const lingerMs = 1_000

/*
 * What a peer may do without use: PING, SETTINGS, empty frames, frames of streams that are over.
 * Go's client sends a PING each round trip while it receives, so useful frames refill it.
 */
const idleFrames = 10_000
const idleFramesPerSecond = 1_000
const idleFramesPerUseful = 4
/* Streams reset before they were answered (CVE-2023-44487). */
const resets = 10_000
const resetsPerSecond = 1_000

/** The engine of both ends: takes frames, keeps streams, answers what needs no receiver. */
export class Http2Connection implements StreamHost {
  readonly server: boolean
  readonly outbox: Outbox
  readonly sender: Sender
  readonly encoder: HpackEncoder = new HpackEncoder()
  readonly windowBytes: number
  readonly streams: Map<number, Http2Stream> = new Map()
  readonly #socket: Socket
  readonly #role: Role
  readonly #reader: FrameReader
  readonly #headers: HeaderAssembler
  readonly #graves = new Graveyard()
  readonly #idle = new Budget(idleFrames, idleFramesPerSecond)
  readonly #resets = new Budget(resets, resetsPerSecond)
  readonly #keepAlive: KeepAlive
  readonly #connectionWindow: number
  #receiveWindow: number
  #credit = 0
  #settingsReceived = false
  #settingsAcked = false
  #ended = false
  #error: Error | undefined

  constructor(socket: Socket, role: Role, options: Http2Options) {
    this.#socket = socket
    this.#role = role
    this.server = role.server
    this.outbox = new Outbox(socket, () => this.sender.pump())
    this.sender = new Sender(this.outbox)
    this.windowBytes = options.windowBytes ?? defaultWindow
    this.#connectionWindow = Math.max(defaultWindowBytes, this.windowBytes)
    this.#receiveWindow = this.#connectionWindow
    const maxListBytes = options.maxHeaderListBytes ?? defaultHeaderListBytes
    this.#headers = new HeaderAssembler(maxListBytes)
    this.#reader = new FrameReader((type, flags, id, bytes, start, end) => {
      this.#receive(type, flags, id, bytes, start, end)
    })
    this.#keepAlive = new KeepAlive(this.outbox, options.keepAlive, () => {
      this.destroy(new Error('the peer does not answer'))
    })
    this.#sendSettings(maxListBytes)
    socket.on('drain', () => this.#drain())
    socket.on('error', (err) => {
      this.#error ??= err
    })
    socket.on('end', () => socket.destroy())
    socket.on('close', () => this.#close())
  }

  /** Whether nothing can be sent any more. */
  get ended(): boolean {
    return this.#ended
  }

  /** Takes what the socket has given, after the preface. */
  receive(chunk: Buffer): void {
    if (this.#ended) return
    this.#keepAlive.heard()
    try {
      this.#reader.push(chunk)
    } catch (err) {
      this.fail(err)
    }
    // Answers to a peer that does not read them must not pile up; it is the server that stops.
    if (!this.server || this.outbox.pending < stalledBytes) return
    this.outbox.flush()
    if (this.outbox.pending >= stalledBytes) this.#socket.pause()
  }

  /** The window of a stream that opens now; the peer may not know our SETTINGS yet. */
  get streamWindow(): number {
    return this.#settingsAcked ? this.windowBytes : Math.max(defaultWindowBytes, this.windowBytes)
  }

  /** Keeps why the connection will have ended, if nothing worse comes. */
  explain(err: Error): void {
    this.#error ??= err
  }

  /** Ends the connection with GOAWAY. Its streams are lost. */
  fail(err: unknown): void {
    if (this.#ended) return
    const known = err instanceof Http2Error
    this.#error ??= err instanceof Error ? err : new Error(String(err))
    const code = known ? err.errorCode : ErrorCode.internalError
    this.outbox.goaway(this.#role.lastStream(), code, known ? err.message : '')
    this.end()
  }

  /** Sends what has been written, and closes. */
  end(): void {
    if (this.#ended) return
    this.outbox.flush()
    this.#stop()
    this.#socket.end()
    this.#socket.resume()
    const linger = setTimeout(() => this.#socket.destroy(), lingerMs)
    this.#socket.once('close', () => clearTimeout(linger))
  }

  /** Closes without another word. */
  destroy(err?: Error): void {
    this.#error ??= err
    this.#stop()
    this.#socket.destroy()
  }

  remove(stream: Http2Stream, resetByUs: boolean): void {
    this.streams.delete(stream.id)
    this.#graves.bury(stream.id, resetByUs)
    this.#role.onRemove?.()
  }

  #stop(): void {
    if (this.#ended) return
    this.#ended = true
    this.#reader.stop()
    this.#keepAlive[Symbol.dispose]()
    for (const stream of this.streams.values()) {
      stream.close('connection lost', ErrorCode.internalError)
    }
  }

  #close(): void {
    this.#stop()
    this.#role.onClose(this.#error)
  }

  #drain(): void {
    this.sender.pump()
    if (this.#socket.isPaused()) this.#socket.resume()
  }

  #sendSettings(maxListBytes: number): void {
    const { outbox, windowBytes } = this
    const settings: [number, number][] = [
      [Setting.initialWindowSize, windowBytes],
      [Setting.maxHeaderListSize, maxListBytes],
    ]
    if (!this.server) settings.push([Setting.enablePush, 0])
    const { maxConcurrentStreams } = this.#role
    if (maxConcurrentStreams) settings.push([Setting.maxConcurrentStreams, maxConcurrentStreams])
    outbox.frame(FrameType.settings, 0, 0, settings.length * 6)
    for (const [id, value] of settings) {
      outbox.uint16(id)
      outbox.uint32(value)
    }
    const more = this.#connectionWindow - defaultWindowBytes
    if (more > 0) outbox.windowUpdate(0, more)
  }

  #receive(
    type: number,
    flags: number,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    if (this.#headers.stream !== 0 || !this.#settingsReceived) this.#checkOrder(type, flags, id)
    switch (type) {
      case FrameType.data:
        return this.#data(flags, id, bytes, start, end)
      case FrameType.headers:
        return this.#headersFrame(flags, id, bytes, start, end)
      case FrameType.continuation:
        return this.#continuation(flags, id, bytes, start, end)
      case FrameType.rstStream:
        return this.#rstStream(id, bytes, start, end)
      case FrameType.windowUpdate:
        return this.#windowUpdate(id, bytes, start, end)
      case FrameType.settings:
        return this.#settings(flags, id, bytes, start, end)
      case FrameType.ping:
        return this.#ping(flags, id, bytes, start, end)
      case FrameType.goaway:
        return this.#goaway(id, bytes, start, end)
      case FrameType.priority:
        return this.#priority(id, bytes, start, end)
      case FrameType.pushPromise:
        throw violation('PUSH_PROMISE')
      default:
        this.#useless()
    }
  }

  #checkOrder(type: number, flags: number, id: number): void {
    const { stream } = this.#headers
    if (stream !== 0) {
      if (type === FrameType.continuation && id === stream) return
      throw violation('a frame inside of a header block')
    }
    if (type !== FrameType.settings || (flags & Flag.ack) !== 0) {
      throw violation('something else before SETTINGS')
    }
  }

  #data(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id === 0) throw violation('DATA on stream 0')
    const flowBytes = end - start
    this.#receiveWindow -= flowBytes
    if (this.#receiveWindow < 0) {
      throw new Http2Error(ErrorCode.flowControlError, 'more DATA than the window')
    }
    this.#give(flowBytes)
    let [from, to] = [start, end]
    if ((flags & Flag.padded) !== 0) {
      from = start + 1
      to = end - (bytes[start] ?? 0)
      if (start === end || to < from) throw violation('padding longer than its frame')
    }
    const ends = (flags & Flag.endStream) !== 0
    if (from === to && !ends) this.#useless()
    else this.#idle.give(idleFramesPerUseful)
    const stream = this.streams.get(id)
    if (!stream) {
      this.#stray(id, 'DATA')
      return
    }
    const data = from === to ? noData : bytes.subarray(from, to)
    const code = stream.receiveData(data, flowBytes, ends)
    if (code !== ErrorCode.noError) stream.reset(code)
  }

  /** Gives the window of the connection back; what a stream may hold is its own window's business. */
  #give(bytes: number): void {
    this.#credit += bytes
    if (this.#credit * 4 < this.#connectionWindow) return
    this.outbox.windowUpdate(0, this.#credit)
    this.#receiveWindow += this.#credit
    this.#credit = 0
  }

  #headersFrame(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id === 0) throw violation('HEADERS on stream 0')
    let [from, to] = [start, end]
    if ((flags & Flag.padded) !== 0) {
      to -= bytes[from] ?? 0
      from++
    }
    if ((flags & Flag.priority) !== 0) {
      if (from + 5 > to) throw new Http2Error(ErrorCode.frameSizeError, 'HEADERS without priority')
      if ((bytes.readUInt32BE(from) & 0x7fff_ffff) === id) throw violation('a stream on itself')
      from += 5
    }
    if (to < from) throw violation('padding longer than its frame')
    const block = this.#headers.begin(id, flags, bytes, from, to)
    if (block) this.#block(id, block)
  }

  #continuation(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (this.#headers.stream === 0) throw violation('CONTINUATION of nothing')
    if (start === end) this.#useless()
    const block = this.#headers.go(flags, bytes, start, end)
    if (block) this.#block(id, block)
  }

  #block(id: number, block: HeaderBlock): void {
    this.#idle.give(idleFramesPerUseful)
    const end = this.#headers.endStream
    const stream = this.streams.get(id)
    if (!stream || (!this.server && !stream.headersReceived)) {
      if (!stream && this.#graves.find(id) === 'reset by us') return
      if (!stream && this.#graves.find(id) === 'closed') {
        throw new Http2Error(ErrorCode.streamClosed, 'HEADERS on a closed stream')
      }
      this.#role.onBlock(id, block, end)
      return
    }
    const valid = end && !block.tooLarge && block.isValid('trailers')
    const code = valid ? stream.receiveTrailers(block) : ErrorCode.protocolError
    if (code !== ErrorCode.noError) stream.reset(code)
  }

  #rstStream(id: number, bytes: Buffer, start: number, end: number): void {
    if (end - start !== 4) throw new Http2Error(ErrorCode.frameSizeError, 'RST_STREAM')
    if (id === 0 || this.#role.isIdle(id)) throw violation('RST_STREAM of an idle stream')
    const stream = this.streams.get(id)
    if (!stream) {
      this.#useless()
      return
    }
    if (this.server && !stream.headersSent && !this.#resets.take()) {
      throw new Http2Error(ErrorCode.enhanceYourCalm, 'too many streams are reset')
    }
    stream.close('reset by peer', bytes.readUInt32BE(start))
  }

  #windowUpdate(id: number, bytes: Buffer, start: number, end: number): void {
    if (end - start !== 4) throw new Http2Error(ErrorCode.frameSizeError, 'WINDOW_UPDATE')
    const increment = bytes.readUInt32BE(start) & 0x7fff_ffff
    if (id === 0) {
      if (increment === 0) throw violation('WINDOW_UPDATE of 0')
      this.sender.window += increment
      if (this.sender.window > largestWindowBytes) {
        throw new Http2Error(ErrorCode.flowControlError, 'the window is too wide')
      }
      this.sender.pump()
      return
    }
    if (this.#role.isIdle(id)) throw violation('WINDOW_UPDATE of an idle stream')
    const stream = this.streams.get(id)
    if (increment === 0) stream?.reset(ErrorCode.protocolError)
    else if (stream?.widen(increment) === false) stream.reset(ErrorCode.flowControlError)
  }

  #settings(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0) throw violation('SETTINGS of a stream')
    if ((flags & Flag.ack) !== 0) {
      if (start !== end) throw new Http2Error(ErrorCode.frameSizeError, 'SETTINGS with ACK')
      this.#settingsAcked = true
      return
    }
    this.#useless()
    const settings = readSettings(bytes, start, end)
    this.#settingsReceived = true
    if (settings.headerTableSize !== undefined) this.encoder.allow(settings.headerTableSize)
    if (settings.initialWindowSize !== undefined) this.#widenAll(settings.initialWindowSize)
    this.outbox.frame(FrameType.settings, Flag.ack, 0, 0)
    this.#role.onSettings?.(settings.maxConcurrentStreams)
  }

  #widenAll(initialWindow: number): void {
    const more = initialWindow - this.sender.initialWindow
    this.sender.initialWindow = initialWindow
    for (const stream of this.streams.values()) {
      if (stream.widen(more)) continue
      throw new Http2Error(ErrorCode.flowControlError, 'the window of a stream is too wide')
    }
  }

  #ping(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0) throw violation('PING of a stream')
    if (end - start !== 8) throw new Http2Error(ErrorCode.frameSizeError, 'PING')
    if ((flags & Flag.ack) !== 0) {
      if (!this.#keepAlive.answered(bytes, start)) this.#role.onPong?.()
      return
    }
    this.#useless()
    this.outbox.frame(FrameType.ping, Flag.ack, 0, 8)
    this.outbox.bytes(bytes.subarray(start, end))
  }

  #goaway(id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0) throw violation('GOAWAY of a stream')
    if (end - start < 8) throw new Http2Error(ErrorCode.frameSizeError, 'GOAWAY')
    this.#useless()
    const lastStream = bytes.readUInt32BE(start) & 0x7fff_ffff
    const debug = bytes.toString('utf8', start + 8, end)
    this.#role.onGoaway?.(lastStream, bytes.readUInt32BE(start + 4), debug)
  }

  #priority(id: number, bytes: Buffer, start: number, end: number): void {
    if (id === 0) throw violation('PRIORITY of stream 0')
    this.#useless()
    const onItself = end - start === 5 && (bytes.readUInt32BE(start) & 0x7fff_ffff) === id
    const code = end - start === 5 ? ErrorCode.protocolError : ErrorCode.frameSizeError
    if (end - start === 5 && !onItself) return
    const stream = this.streams.get(id)
    if (stream) stream.reset(code)
    else this.outbox.rstStream(id, code)
  }

  /** A frame of a stream that is not open. */
  #stray(id: number, what: string): void {
    if (this.#role.isIdle(id)) throw violation(`${what} on an idle stream`)
    if (this.#graves.find(id) === 'reset by us') return
    this.#useless()
    this.outbox.rstStream(id, ErrorCode.streamClosed)
  }

  #useless(): void {
    if (this.#idle.take()) return
    throw new Http2Error(ErrorCode.enhanceYourCalm, 'too many frames of no use')
  }
}

const noData = Buffer.alloc(0)

const violation = (what: string): Http2Error => new Http2Error(ErrorCode.protocolError, what)
