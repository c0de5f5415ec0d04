import type { HeaderList } from './header-block.ts'
import { defaultTableBytes } from './hpack-decoder.ts'
import { DynamicTable, staticFields, weightOf } from './hpack-table.ts'
import { encodeHuffman, huffmanBytes } from './huffman.ts'

/** By name and value, and by name alone: the lowest index of the static table. */
const staticIndex = new Map<string, number>()
for (const [n, { name, value }] of staticFields.entries()) {
  const [field, index] = [`${name}\n${value}`, n + 1]
  if (!staticIndex.has(field)) staticIndex.set(field, index)
  if (!staticIndex.has(name)) staticIndex.set(name, index)
}

const none: HeaderList = []

interface Encoded {
  readonly generation: number
  readonly block: Buffer
}

/**
 * The sending end of HPACK; the format is drawn in `hpack-decoder.ts`. Lists that are sent often
 * should be the same object each time: once all their fields are in the table, the block is kept.
 */
export class HpackEncoder {
  readonly #table = new DynamicTable(defaultTableBytes)
  readonly #kept = new WeakMap<HeaderList, Encoded>()
  #bytes = Buffer.allocUnsafe(1024)
  #at = 0
  /** The smallest and the last size that the decoder has not been told of. */
  #untold: { smallest: number; last: number } | undefined

  /** The decoder allows no larger table (its SETTINGS_HEADER_TABLE_SIZE). */
  allow(tableBytes: number): void {
    const last = Math.min(tableBytes, defaultTableBytes)
    if (last === this.#table.maxBytes && !this.#untold) return
    this.#untold = { smallest: Math.min(last, this.#untold?.smallest ?? last), last }
    this.#table.resize(last)
  }

  /**
   * The block of a list. `repeated` is what is likely to be sent again and goes into the table,
   * `once` is not. Blocks must be sent in the order they were made.
   */
  encode(repeated: HeaderList, once: HeaderList = none): Buffer {
    const kept = this.#kept.get(repeated)
    const { generation } = this.#table
    if (kept?.generation === generation && once.length === 0 && !this.#untold) return kept.block
    this.#at = 0
    this.#tell()
    const start = this.#at
    for (let n = 0; n < repeated.length; n += 2)
      this.#field(repeated[n] ?? '', repeated[n + 1] ?? '', true)
    if (generation === this.#table.generation) {
      this.#kept.set(repeated, { generation, block: this.#copy(start) })
    }
    for (let n = 0; n < once.length; n += 2) this.#field(once[n] ?? '', once[n + 1] ?? '', false)
    return this.#copy(0)
  }

  #copy(start: number): Buffer {
    return Buffer.from(this.#bytes.subarray(start, this.#at))
  }

  #tell(): void {
    if (!this.#untold) return
    const { smallest, last } = this.#untold
    this.#untold = undefined
    if (smallest < last) this.#integer(0x20, 5, smallest)
    this.#integer(0x20, 5, last)
  }

  #field(name: string, value: string, repeated: boolean): void {
    const index = staticIndex.get(`${name}\n${value}`) ?? this.#table.find(name, value)
    if (index > 0) {
      this.#integer(0x80, 7, index)
      return
    }
    // A field that would push out most of the others is not worth it.
    const add = repeated && weightOf(name, value) * 2 <= this.#table.maxBytes
    const known = staticIndex.get(name) ?? this.#table.findName(name)
    this.#integer(add ? 0x40 : 0, add ? 6 : 4, known)
    if (known === 0) this.#text(name)
    this.#text(value)
    if (add) this.#table.add(name, value)
  }

  #text(text: string): void {
    const coded = huffmanBytes(text)
    if (coded < text.length) {
      this.#integer(0x80, 7, coded)
      this.#reserve(coded)
      encodeHuffman(text).copy(this.#bytes, this.#at)
      this.#at += coded
    } else {
      this.#integer(0, 7, text.length)
      this.#reserve(text.length)
      this.#at += this.#bytes.write(text, this.#at, 'latin1')
    }
  }

  #integer(first: number, bits: number, value: number): void {
    this.#reserve(8)
    const mask = (1 << bits) - 1
    if (value < mask) {
      this.#bytes[this.#at++] = first | value
      return
    }
    this.#bytes[this.#at++] = first | mask
    let rest = value - mask
    for (; rest >= 128; rest = Math.floor(rest / 128)) this.#bytes[this.#at++] = (rest % 128) | 128
    this.#bytes[this.#at++] = rest
  }

  #reserve(length: number): void {
    if (this.#at + length <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe((this.#at + length) * 2)
    this.#bytes.copy(larger, 0, 0, this.#at)
    this.#bytes = larger
  }
}
