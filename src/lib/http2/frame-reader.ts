import { ErrorCode, Http2Error, defaultFrameBytes, frameHeaderBytes } from './protocol.ts'

/** Takes frames: the payload is `bytes` from `start` to `end`, and stays valid. */
export type FrameSink = (
  type: number,
  flags: number,
  stream: number,
  bytes: Buffer,
  start: number,
  end: number,
) => void

/**
 * Cuts what a socket gives into frames. A frame that lies in one chunk is not copied; one that the
 * chunks cut is gathered into a buffer of its own, once.
 */
export class FrameReader {
  readonly #sink: FrameSink
  #stopped = false
  /** The frame that has not come whole: its first `#have` bytes. */
  #partial: Buffer | undefined
  #have = 0

  constructor(sink: FrameSink) {
    this.#sink = sink
  }

  /** Whatever comes from now on is dropped. */
  stop(): void {
    this.#stopped = true
    this.#partial = undefined
  }

  /** @throws `Http2Error` for a frame longer than we allow, or what the sink throws. */
  push(chunk: Buffer): void {
    let at = this.#partial ? this.#gather(this.#partial, chunk) : 0
    while (!this.#stopped && chunk.length - at >= frameHeaderBytes) {
      const end = at + frameHeaderBytes + payloadBytes(chunk, at)
      if (end > chunk.length) break
      this.#give(chunk, at, end)
      at = end
    }
    if (at < chunk.length && !this.#stopped) this.#keep(chunk, at)
  }

  #give(bytes: Buffer, at: number, end: number): void {
    const stream = bytes.readUInt32BE(at + 5) & 0x7fff_ffff
    this.#sink(bytes[at + 3] ?? 0, bytes[at + 4] ?? 0, stream, bytes, at + frameHeaderBytes, end)
  }

  #keep(chunk: Buffer, at: number): void {
    const rest = chunk.length - at
    const whole = rest < frameHeaderBytes ? 0 : payloadBytes(chunk, at)
    this.#partial = Buffer.allocUnsafe(frameHeaderBytes + whole)
    this.#have = chunk.copy(this.#partial, 0, at)
  }

  /** Goes on with a frame that has begun. @returns how much of `chunk` it took. */
  #gather(begun: Buffer, chunk: Buffer): number {
    let [partial, at] = [begun, 0]
    if (this.#have < frameHeaderBytes) {
      at = chunk.copy(partial, this.#have, 0, frameHeaderBytes - this.#have)
      this.#have += at
      if (this.#have < frameHeaderBytes) return at
      partial = Buffer.allocUnsafe(frameHeaderBytes + payloadBytes(begun, 0))
      begun.copy(partial, 0, 0, frameHeaderBytes)
      this.#partial = partial
    }
    const taken = chunk.copy(partial, this.#have, at)
    this.#have += taken
    if (this.#have === partial.length) {
      this.#partial = undefined
      this.#have = 0
      this.#give(partial, 0, partial.length)
    }
    return at + taken
  }
}

/** We never announce more than the default, so it is the limit. */
function payloadBytes(bytes: Buffer, at: number): number {
  const length = bytes.readUIntBE(at, 3)
  if (length <= defaultFrameBytes) return length
  throw new Http2Error(ErrorCode.frameSizeError, `frame of ${length} bytes`)
}
