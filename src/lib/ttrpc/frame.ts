/*
 * A ttrpc connection is frames in both directions, no handshake, no flow control (upstream:
 * ttrpc's PROTOCOL.md). Integers are big endian.
 *
 *    0               4               8      9      10
 *   +---------------+---------------+------+-------+----------------+
 *   | data length   | stream id     | type | flags | data           |
 *   +---------------+---------------+------+-------+----------------+
 *     ≤ 4 MiB         odd: client's
 *
 *   type 1 request    client → server   flags 1 remote closed: no data follows (server streams)
 *                                             2 remote open: data follows; neither: unary
 *   type 2 response   server → client   ends the stream, with a status or with the reply
 *   type 3 data       both              flags 1 remote closed: the last one
 *                                             4 no data: there is no message in it
 */

import { Gathered } from '#lib/bytes/gathered.ts'
import { CodedError } from '#lib/errors/errors.ts'

export const FrameType = { request: 1, response: 2, data: 3 } as const
export const FrameFlag = { remoteClosed: 1, remoteOpen: 2, noData: 4 } as const

/** The protocol's own limit of a frame's data. */
export const maxDataBytes: number = 4 * 1024 * 1024

const headerBytes = 10

/** A received frame. `oversize` is the length of data that was too long and has been skipped. */
export interface Frame {
  readonly stream: number
  readonly type: number
  readonly flags: number
  readonly data: Buffer
  readonly oversize?: number
}

/** The error for data over a limit; `ttrpc`'s wording. */
export const tooLarge = (length: number, max: number): CodedError =>
  new CodedError(
    'resource_exhausted',
    `message length ${length} exceed maximum message size of ${max}`,
  )

/** @throws `resource_exhausted` if `data` is larger than a frame, or than the sender's own limit. */
export function checkSendable(data: Uint8Array, max: number = maxDataBytes): void {
  if (data.length > max) throw tooLarge(data.length, max)
}

/** One frame, ready to be written. */
export function toFrame(stream: number, type: number, flags: number, data: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(headerBytes + data.length)
  frame.writeUInt32BE(data.length, 0)
  frame.writeUInt32BE(stream, 4)
  frame[8] = type
  frame[9] = flags
  frame.set(data, headerBytes)
  return frame
}

const none = Buffer.alloc(0)

/** Cuts what a socket gives into frames. Data that came whole is a view of the chunk it came in. */
export class FrameReader {
  readonly #maxBytes: number
  readonly #gathered = new Gathered()
  #needed = headerBytes
  #skip = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** The frames that `chunk` completes; never throws, whatever the bytes. */
  push(chunk: Buffer): Frame[] {
    const skipped = Math.min(this.#skip, chunk.length)
    this.#skip -= skipped
    if (skipped < chunk.length) this.#gathered.push(skipped > 0 ? chunk.subarray(skipped) : chunk)
    const frames: Frame[] = []
    let frame = this.#next()
    while (frame) {
      frames.push(frame)
      frame = this.#next()
    }
    return frames
  }

  #next(): Frame | undefined {
    if (this.#gathered.length < this.#needed) return undefined
    const all = this.#gathered.all()
    const length = all.readUInt32BE(0)
    const head = { stream: all.readUInt32BE(4), type: all.readUInt8(8), flags: all.readUInt8(9) }
    if (length > this.#maxBytes) {
      this.#skipData(length)
      return { ...head, data: none, oversize: length }
    }
    const end = headerBytes + length
    if (all.length < end) {
      this.#needed = end
      return undefined
    }
    this.#drop(end)
    return { ...head, data: all.subarray(headerBytes, end) }
  }

  #skipData(length: number): void {
    const here = Math.min(length, this.#gathered.length - headerBytes)
    this.#skip = length - here
    this.#drop(headerBytes + here)
  }

  #drop(bytes: number): void {
    this.#gathered.drop(bytes)
    this.#needed = headerBytes
  }
}
