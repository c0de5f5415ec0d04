import type { Socket } from 'node:net'

import { FrameType, frameHeaderBytes } from './protocol.ts'

const slabBytes = 64 * 1024
/** What is shorter is copied between its neighbours; what is longer goes to the socket as it is. */
const copiedBelow = 4 * 1024
const empty = Buffer.alloc(0)

/**
 * Frames on their way to the socket. All that is written in one turn of the event loop leaves with
 * one write; a frame that has begun is always finished, whatever becomes of its stream.
 */
export class Outbox {
  readonly #socket: Socket
  readonly #onFlushed: () => void
  readonly #flush = (): void => this.flush()
  #slab = Buffer.allocUnsafeSlow(slabBytes)
  /** `#slab` is taken up to `#at`, and not yet given away from `#from`. */
  #from = 0
  #at = 0
  /** What goes before the rest of the slab. */
  #chunks: Uint8Array[] = []
  #chunkBytes = 0
  #scheduled = false
  /** Who waits for what is here, and for what the socket has. */
  #owners: (() => void)[] = []
  #leaving: (() => void)[] = []

  /** `onFlushed` is called when something has been given to the socket. */
  constructor(socket: Socket, onFlushed: () => void) {
    this.#socket = socket
    this.#onFlushed = onFlushed
  }

  /** Bytes that the kernel has not taken. */
  get pending(): number {
    return this.#chunkBytes + this.#at - this.#from + this.#socket.writableLength
  }

  /** Begins a frame; its payload of `length` bytes must follow in this turn. */
  frame(type: number, flags: number, stream: number, length: number): void {
    const at = this.#reserve(frameHeaderBytes)
    const slab = this.#slab
    slab[at] = length >>> 16
    slab[at + 1] = length >>> 8
    slab[at + 2] = length
    slab[at + 3] = type
    slab[at + 4] = flags
    slab[at + 5] = stream >>> 24
    slab[at + 6] = stream >>> 16
    slab[at + 7] = stream >>> 8
    slab[at + 8] = stream
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#flush)
  }

  /** A part of a payload. The bytes must not change any more. */
  bytes(part: Uint8Array): void {
    const { length } = part
    if (length < copiedBelow) {
      const at = this.#reserve(length)
      this.#slab.set(part, at)
    } else {
      this.#seal()
      this.#chunks.push(part)
      this.#chunkBytes += length
    }
  }

  /**
   * Calls `owner` when the kernel has taken all that was written so far: the bytes may change then.
   * Nobody is called when the connection ends before.
   */
  whenTaken(owner: () => void): void {
    this.#owners.push(owner)
  }

  uint32(value: number): void {
    const at = this.#reserve(4)
    this.#slab.writeUInt32BE(value, at)
  }

  uint16(value: number): void {
    const at = this.#reserve(2)
    this.#slab.writeUInt16BE(value, at)
  }

  rstStream(stream: number, code: number): void {
    this.frame(FrameType.rstStream, 0, stream, 4)
    this.uint32(code)
  }

  windowUpdate(stream: number, increment: number): void {
    this.frame(FrameType.windowUpdate, 0, stream, 4)
    this.uint32(increment)
  }

  goaway(lastStream: number, code: number, debug: string): void {
    const text = Buffer.from(debug)
    this.frame(FrameType.goaway, 0, 0, 8 + text.length)
    this.uint32(lastStream)
    this.uint32(code)
    this.bytes(text)
  }

  /** Gives everything to the socket now. */
  flush(): void {
    this.#scheduled = false
    this.#seal()
    const [chunks, socket] = [this.#chunks, this.#socket]
    if (chunks.length === 0) return
    this.#chunks = []
    this.#chunkBytes = 0
    if (socket.destroyed || socket.writableEnded) return
    if (chunks.length === 1) {
      socket.write(chunks[0] ?? empty)
    } else {
      socket.cork()
      for (const chunk of chunks) socket.write(chunk)
      socket.uncork()
    }
    // What the kernel has taken at once need not be kept for it.
    if (socket.writableLength === 0) this.#from = this.#at = 0
    if (this.#owners.length > 0) {
      this.#leaving.push(...this.#owners)
      this.#owners = []
    }
    this.drained()
    this.#onFlushed()
  }

  /** The socket may have given everything to the kernel. */
  drained(): void {
    if (this.#leaving.length === 0 || this.#socket.writableLength > 0) return
    const owners = this.#leaving
    this.#leaving = []
    for (const owner of owners) owner()
  }

  #reserve(length: number): number {
    if (this.#at + length > slabBytes) {
      this.#seal()
      this.#slab = Buffer.allocUnsafeSlow(slabBytes)
      this.#from = this.#at = 0
    }
    const at = this.#at
    this.#at = at + length
    return at
  }

  #seal(): void {
    if (this.#at === this.#from) return
    this.#chunks.push(this.#slab.subarray(this.#from, this.#at))
    this.#chunkBytes += this.#at - this.#from
    this.#from = this.#at
  }
}
