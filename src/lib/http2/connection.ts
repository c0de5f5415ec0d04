import type { Socket } from 'node:net'

import { Budget } from './budget.ts'
import { FrameHandler } from './frame-handler.ts'
import { FrameReader } from './frame-reader.ts'
import { type Grave, Graveyard } from './graveyard.ts'
import { HpackEncoder } from './hpack-encoder.ts'
import { KeepAlive, type KeepAliveTimes } from './keep-alive.ts'
import { Outbox } from './outbox.ts'
import { ErrorCode, FrameType, Http2Error, Setting, defaultWindowBytes } from './protocol.ts'
import type { FrameHost, Role } from './role.ts'
import { Sender } from './sender.ts'
import type { Http2Stream } from './stream.ts'

/** Limits of a connection, the same for both ends. */
export interface Http2Options {
  /** Bytes a peer may send on a stream, and on the connection, ahead of us; 4 MiB by default. */
  readonly windowBytes?: number
  /** Weight of the longest header list, bytes; 64 KiB by default. */
  readonly maxHeaderListBytes?: number
  /** When a silent peer is asked whether it is there; 2 h, and 20 s for the answer, by default. */
  readonly keepAlive?: KeepAliveTimes
}

const defaultWindow = 4 * 1024 * 1024
const defaultHeaderListBytes = 64 * 1024
/** A peer that reads so little is not read from, as long as it asks for more answers. */
const stalledBytes = 1024 * 1024
/** How long a peer may take to close after we have, ms. */
const lingerMs = 1_000

/*
 * Requests that end in a reset before they were answered, whoever resets them (CVE-2023-44487,
 * CVE-2025-8671). A client that leaves while it is being answered, as containerd's content reader
 * does for every 32 KiB, has waited for it and is not counted.
 */
const resets = 10_000
const resetsPerSecond = 1_000

/** The engine of both ends: takes frames, keeps streams, answers what needs no receiver. */
export class Http2Connection implements FrameHost {
  readonly server: boolean
  readonly outbox: Outbox
  readonly sender: Sender
  readonly encoder: HpackEncoder = new HpackEncoder()
  readonly windowBytes: number
  readonly streams: Map<number, Http2Stream> = new Map()
  readonly #socket: Socket
  readonly #role: Role
  readonly #reader: FrameReader
  readonly #graves = new Graveyard()
  readonly #resets = new Budget(resets, resetsPerSecond)
  readonly keepAlive: KeepAlive
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
    const connectionWindow = Math.max(defaultWindowBytes, this.windowBytes)
    const maxListBytes = options.maxHeaderListBytes ?? defaultHeaderListBytes
    const handler = new FrameHandler(this, role, connectionWindow, maxListBytes)
    this.#reader = new FrameReader((type, flags, id, bytes, start, end) => {
      handler.receive(type, flags, id, bytes, start, end)
    })
    this.keepAlive = new KeepAlive(this.outbox, options.keepAlive, () => {
      this.destroy(new Error('the peer does not answer'))
    })
    this.#sendSettings(maxListBytes, connectionWindow)
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
    this.keepAlive.heard()
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

  graveOf(stream: number): Grave {
    return this.#graves.find(stream)
  }

  countReset(stream?: Http2Stream): void {
    if (!this.server || stream?.headersSent || this.#resets.take()) return
    throw new Http2Error(ErrorCode.enhanceYourCalm, 'too many streams are reset')
  }

  fault(stream: Http2Stream, code: number): void {
    this.countReset(stream)
    stream.reset(code)
  }

  settingsAcked(): void {
    this.#settingsAcked = true
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
    this.keepAlive[Symbol.dispose]()
    for (const stream of this.streams.values()) {
      stream.close('connection lost', ErrorCode.internalError)
    }
  }

  #close(): void {
    this.#stop()
    this.#role.onClose(this.#error)
  }

  #drain(): void {
    this.outbox.drained()
    this.sender.pump()
    if (this.#socket.isPaused()) this.#socket.resume()
  }

  #sendSettings(maxListBytes: number, connectionWindow: number): void {
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
    const more = connectionWindow - defaultWindowBytes
    if (more > 0) outbox.windowUpdate(0, more)
  }
}
