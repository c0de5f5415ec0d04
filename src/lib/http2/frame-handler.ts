import { Budget } from './budget.ts'
import { ControlFrames } from './control-frames.ts'
import { HeaderAssembler } from './header-assembler.ts'
import type { HeaderBlock } from './header-block.ts'
import { ErrorCode, Flag, FrameType, Http2Error } from './protocol.ts'
import type { FrameHost, Role } from './role.ts'

/*
 * What a peer may do without use: PING, SETTINGS, empty frames, frames of streams that are over.
 * Go's client sends a PING each round trip while it receives, so useful frames refill it.
 */
const idleFrames = 10_000
const idleFramesPerSecond = 1_000
const idleFramesPerUseful = 4

/**
 * Handles the frames of a connection in the order they come. What it throws ends the connection:
 * an `Http2Error` tells the peer why.
 */
export class FrameHandler {
  readonly #host: FrameHost
  readonly #role: Role
  readonly #control: ControlFrames
  readonly #headers: HeaderAssembler
  readonly #idle = new Budget(idleFrames, idleFramesPerSecond)
  /** What the whole connection may receive at once, and what it still may, bytes. */
  readonly #windowBytes: number
  #receiveWindow: number
  #credit = 0
  #settingsReceived = false

  constructor(host: FrameHost, role: Role, windowBytes: number, maxListBytes: number) {
    this.#host = host
    this.#role = role
    this.#control = new ControlFrames(host, role)
    this.#headers = new HeaderAssembler(maxListBytes)
    this.#windowBytes = windowBytes
    this.#receiveWindow = windowBytes
  }

  /** Takes one frame. */
  receive(
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
        return this.#control.windowUpdate(id, bytes, start, end)
      case FrameType.settings:
        this.#settingsReceived = true
        this.#useless()
        return this.#control.settings(flags, id, bytes, start, end)
      case FrameType.ping:
        this.#useless()
        return this.#control.ping(flags, id, bytes, start, end)
      case FrameType.goaway:
        this.#useless()
        return this.#control.goaway(id, bytes, start, end)
      case FrameType.priority:
        this.#useless()
        return this.#control.priority(id, bytes, start, end)
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
    const stream = this.#host.streams.get(id)
    if (!stream) {
      this.#stray(id, 'DATA')
      return
    }
    const data = from === to ? noData : bytes.subarray(from, to)
    const code = stream.receiveData(data, flowBytes, ends)
    if (code !== ErrorCode.noError) this.#host.fault(stream, code)
  }

  /** Gives the window of the connection back; what a stream may hold is its own window's business. */
  #give(bytes: number): void {
    this.#credit += bytes
    if (this.#credit * 4 < this.#windowBytes) return
    this.#host.outbox.windowUpdate(0, this.#credit)
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
    const stream = this.#host.streams.get(id)
    if (!stream || (!this.#host.server && !stream.headersReceived)) {
      if (!stream && this.#host.graveOf(id) === 'reset by us') return
      if (!stream && this.#host.graveOf(id) === 'closed') {
        throw new Http2Error(ErrorCode.streamClosed, 'HEADERS on a closed stream')
      }
      this.#role.onBlock(id, block, end)
      return
    }
    if (stream.remoteEnded) {
      this.#host.fault(stream, ErrorCode.streamClosed)
      return
    }
    const valid = end && !block.tooLarge && block.isValid('trailers')
    const code = valid ? stream.receiveTrailers(block) : ErrorCode.protocolError
    if (code !== ErrorCode.noError) this.#host.fault(stream, code)
  }

  #rstStream(id: number, bytes: Buffer, start: number, end: number): void {
    if (end - start !== 4) throw new Http2Error(ErrorCode.frameSizeError, 'RST_STREAM')
    if (id === 0 || this.#role.isIdle(id)) throw violation('RST_STREAM of an idle stream')
    const stream = this.#host.streams.get(id)
    if (!stream) {
      this.#useless()
      return
    }
    this.#host.countReset(stream)
    stream.close('reset by peer', bytes.readUInt32BE(start))
  }

  /** A frame of a stream that is not open. */
  #stray(id: number, what: string): void {
    if (this.#role.isIdle(id)) throw violation(`${what} on an idle stream`)
    if (this.#host.graveOf(id) === 'reset by us') return
    this.#useless()
    this.#host.outbox.rstStream(id, ErrorCode.streamClosed)
  }

  #useless(): void {
    if (this.#idle.take()) return
    throw new Http2Error(ErrorCode.enhanceYourCalm, 'too many frames of no use')
  }
}

const noData = Buffer.alloc(0)

const violation = (what: string): Http2Error => new Http2Error(ErrorCode.protocolError, what)
