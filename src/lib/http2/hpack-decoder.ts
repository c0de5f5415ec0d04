/*
 * Header blocks (RFC 7541 §6). Each field is one of
 *
 *   1 index (7+)                                     a field of the tables
 *   01 name index (6+) [name] value                  to be added to the dynamic table
 *   0000 name index (4+) [name] value                not to be added
 *   0001 name index (4+) [name] value                never to be added by anybody
 *   001 size (5+)                                    not a field: the dynamic table is to be that big
 *
 * where (n+) is an integer that begins with n bits, a name is there if its index is 0, and texts are
 *
 *   Huffman (1) length (7+) bytes
 */
import { HeaderBlock } from './header-block.ts'
import { DynamicTable, weightOf } from './hpack-table.ts'
import { decodeHuffman } from './huffman.ts'
import { ErrorCode, Http2Error } from './protocol.ts'

/** What both ends have before SETTINGS say otherwise. */
export const defaultTableBytes = 4096

/** No number in a block may be larger; far above all that is allowed. */
const largestInteger = 2 ** 28
const rememberedBytes = 128
const remembered = 8

interface Remembered {
  readonly bytes: Buffer
  readonly generation: number
  readonly block: HeaderBlock
}

/** The receiving end of HPACK. Every block of a connection must go through it, in order. */
export class HpackDecoder {
  readonly #table = new DynamicTable(defaultTableBytes)
  readonly #maxListBytes: number
  /** Blocks that left the table alone: the same bytes mean the same until the table changes. */
  readonly #known: Remembered[] = []
  #nextKnown = 0
  #bytes: Buffer = Buffer.alloc(0)
  #at = 0
  #end = 0
  #fields: string[] = []
  #listBytes = 0

  /** A longer list (in the sum of its weights) is decoded to the end, but not kept. */
  constructor(maxListBytes: number) {
    this.#maxListBytes = maxListBytes
  }

  /** Decodes one block. @throws `Http2Error`, after which nothing more can be decoded. */
  decode(bytes: Buffer, start: number, end: number): HeaderBlock {
    const known = this.#recall(bytes, start, end)
    if (known) return known
    const { generation } = this.#table
    this.#bytes = bytes
    this.#at = start
    this.#end = end
    this.#fields = []
    this.#listBytes = 0
    this.#resizes()
    while (this.#at < end) this.#field()
    const block = new HeaderBlock(this.#fields, this.#listBytes > this.#maxListBytes)
    if (generation === this.#table.generation) this.#remember(bytes, start, end, block)
    return block
  }

  #recall(bytes: Buffer, start: number, end: number): HeaderBlock | undefined {
    const length = end - start
    if (length > rememberedBytes) return undefined
    const { generation } = this.#table
    for (const known of this.#known) {
      if (known.generation !== generation || known.bytes.length !== length) continue
      let n = 0
      while (n < length && known.bytes[n] === bytes[start + n]) n++
      if (n === length) return known.block
    }
    return undefined
  }

  #remember(bytes: Buffer, start: number, end: number, block: HeaderBlock): void {
    if (end - start > rememberedBytes) return
    const { generation } = this.#table
    this.#known[this.#nextKnown] = {
      bytes: Buffer.from(bytes.subarray(start, end)),
      generation,
      block,
    }
    this.#nextKnown = (this.#nextKnown + 1) % remembered
  }

  /** Changes of the table's size come first, at most two (RFC 7541 §4.2). */
  #resizes(): void {
    for (let n = 0; this.#at < this.#end && ((this.#bytes[this.#at] ?? 0) & 0xe0) === 0x20; n++) {
      const size = this.#integer(5)
      if (n === 2 || size > defaultTableBytes) throw corrupt('table size')
      this.#table.resize(size)
    }
  }

  #field(): void {
    const first = this.#bytes[this.#at] ?? 0
    if (first >= 0x80) {
      const field = this.#table.at(this.#integer(7))
      if (!field) throw corrupt('index')
      this.#take(field.name, field.value)
    } else if (first >= 0x40) {
      const name = this.#name(6)
      const value = this.#text()
      this.#table.add(name, value)
      this.#take(name, value)
    } else {
      if (first >= 0x20) throw corrupt('table size')
      this.#take(this.#name(4), this.#text())
    }
  }

  #take(name: string, value: string): void {
    this.#listBytes += weightOf(name, value)
    if (this.#listBytes <= this.#maxListBytes) this.#fields.push(name, value)
  }

  #name(bits: number): string {
    const index = this.#integer(bits)
    if (index === 0) return this.#text()
    const field = this.#table.at(index)
    if (!field) throw corrupt('index')
    return field.name
  }

  #text(): string {
    const huffman = this.#at < this.#end && (this.#bytes[this.#at] ?? 0) >= 0x80
    const length = this.#integer(7)
    const start = this.#at
    const end = start + length
    if (end > this.#end) throw corrupt('length')
    this.#at = end
    return huffman
      ? decodeHuffman(this.#bytes, start, end)
      : this.#bytes.toString('latin1', start, end)
  }

  /** RFC 7541 §5.1. */
  #integer(bits: number): number {
    if (this.#at >= this.#end) throw corrupt('end')
    const mask = (1 << bits) - 1
    let value = (this.#bytes[this.#at++] ?? 0) & mask
    if (value < mask) return value
    for (let scale = 1; ; scale *= 128) {
      if (this.#at >= this.#end) throw corrupt('end')
      const byte = this.#bytes[this.#at++] ?? 0
      value += (byte & 0x7f) * scale
      if (value > largestInteger || scale > largestInteger) throw corrupt('integer')
      if (byte < 0x80) return value
    }
  }
}

const corrupt = (what: string): Http2Error =>
  new Http2Error(ErrorCode.compressionError, `header block with a bad ${what}`)
