import { ErrorCode, Flag, FrameType, Http2Error, largestWindowBytes } from './protocol.ts'
import type { FrameHost, Role } from './role.ts'
import { readSettings } from './settings.ts'

/** Handles the frames that carry no part of a request or a response; each throws `Http2Error`. */
export class ControlFrames {
  readonly #host: FrameHost
  readonly #role: Role

  constructor(host: FrameHost, role: Role) {
    this.#host = host
    this.#role = role
  }

  settings(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0) throw violation('SETTINGS of a stream')
    if ((flags & Flag.ack) !== 0) {
      if (start !== end) throw new Http2Error(ErrorCode.frameSizeError, 'SETTINGS with ACK')
      this.#host.settingsAcked()
      return
    }
    const settings = readSettings(bytes, start, end)
    // First of all: data that a wider window lets go must not overtake it.
    this.#host.outbox.frame(FrameType.settings, Flag.ack, 0, 0)
    if (settings.headerTableSize !== undefined) this.#host.encoder.allow(settings.headerTableSize)
    if (settings.initialWindowSize !== undefined) this.#widenAll(settings.initialWindowSize)
    this.#role.onSettings?.(settings.maxConcurrentStreams)
  }

  #widenAll(initialWindow: number): void {
    const more = initialWindow - this.#host.sender.initialWindow
    this.#host.sender.initialWindow = initialWindow
    for (const stream of this.#host.streams.values()) {
      if (stream.widen(more)) continue
      throw new Http2Error(ErrorCode.flowControlError, 'the window of a stream is too wide')
    }
  }

  ping(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0) throw violation('PING of a stream')
    if (end - start !== 8) throw new Http2Error(ErrorCode.frameSizeError, 'PING')
    if ((flags & Flag.ack) !== 0) {
      if (!this.#host.keepAlive.answered(bytes, start)) this.#role.onPong?.()
      return
    }
    this.#host.outbox.frame(FrameType.ping, Flag.ack, 0, 8)
    this.#host.outbox.bytes(bytes.subarray(start, end))
  }

  goaway(id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0) throw violation('GOAWAY of a stream')
    if (end - start < 8) throw new Http2Error(ErrorCode.frameSizeError, 'GOAWAY')
    const lastStream = bytes.readUInt32BE(start) & 0x7fff_ffff
    const debug = bytes.toString('utf8', start + 8, end)
    this.#role.onGoaway?.(lastStream, bytes.readUInt32BE(start + 4), debug)
  }

  windowUpdate(id: number, bytes: Buffer, start: number, end: number): void {
    if (end - start !== 4) throw new Http2Error(ErrorCode.frameSizeError, 'WINDOW_UPDATE')
    const increment = bytes.readUInt32BE(start) & 0x7fff_ffff
    if (id === 0) {
      if (increment === 0) throw violation('WINDOW_UPDATE of 0')
      this.#host.sender.window += increment
      if (this.#host.sender.window > largestWindowBytes) {
        throw new Http2Error(ErrorCode.flowControlError, 'the window is too wide')
      }
      this.#host.sender.pump()
      return
    }
    if (this.#role.isIdle(id)) throw violation('WINDOW_UPDATE of an idle stream')
    const stream = this.#host.streams.get(id)
    if (!stream) return
    if (increment === 0) this.#host.fault(stream, ErrorCode.protocolError)
    else if (!stream.widen(increment)) this.#host.fault(stream, ErrorCode.flowControlError)
  }

  priority(id: number, bytes: Buffer, start: number, end: number): void {
    if (id === 0) throw violation('PRIORITY of stream 0')
    const onItself = end - start === 5 && (bytes.readUInt32BE(start) & 0x7fff_ffff) === id
    const code = end - start === 5 ? ErrorCode.protocolError : ErrorCode.frameSizeError
    if (end - start === 5 && !onItself) return
    const stream = this.#host.streams.get(id)
    if (stream) this.#host.fault(stream, code)
    else this.#host.outbox.rstStream(id, code)
  }
}

const violation = (what: string): Http2Error => new Http2Error(ErrorCode.protocolError, what)
