import type { HeaderBlock } from './header-block.ts'
import { HpackDecoder } from './hpack-decoder.ts'
import { ErrorCode, Flag, Http2Error } from './protocol.ts'

/** Frames that one header block may be cut into. */
const mostPieces = 256

/** Puts header blocks together from HEADERS and CONTINUATION, and decodes them. */
export class HeaderAssembler {
  readonly #decoder: HpackDecoder
  readonly #maxBytes: number
  /** The stream whose block has not come whole, or 0. */
  #stream = 0
  #endStream = false
  #pieces: Buffer[] = []
  #bytes = 0

  /** Lists above `maxListBytes` are marked as too large; blocks of more bytes than that end it all. */
  constructor(maxListBytes: number) {
    this.#decoder = new HpackDecoder(maxListBytes)
    this.#maxBytes = maxListBytes
  }

  /** The stream that must be continued next, or 0. */
  get stream(): number {
    return this.#stream
  }

  /** Whether the block that `finish` gave last also ended its stream. */
  get endStream(): boolean {
    return this.#endStream
  }

  /** A HEADERS frame. @returns the block if it is whole. */
  begin(
    stream: number,
    flags: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): HeaderBlock | undefined {
    this.#endStream = (flags & Flag.endStream) !== 0
    if ((flags & Flag.endHeaders) !== 0) return this.#decoder.decode(bytes, start, end)
    this.#stream = stream
    return this.#add(flags, bytes, start, end)
  }

  /** A CONTINUATION frame. @returns the block if it is whole. */
  go(flags: number, bytes: Buffer, start: number, end: number): HeaderBlock | undefined {
    return this.#add(flags, bytes, start, end)
  }

  #add(flags: number, bytes: Buffer, start: number, end: number): HeaderBlock | undefined {
    this.#pieces.push(bytes.subarray(start, end))
    this.#bytes += end - start
    if (this.#bytes > this.#maxBytes || this.#pieces.length > mostPieces) {
      throw new Http2Error(ErrorCode.enhanceYourCalm, 'header block is too long')
    }
    if ((flags & Flag.endHeaders) === 0) return undefined
    const block = Buffer.concat(this.#pieces, this.#bytes)
    this.#stream = 0
    this.#pieces = []
    this.#bytes = 0
    return this.#decoder.decode(block, 0, block.length)
  }
}
