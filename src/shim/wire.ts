/**
 * Just enough of the protobuf wire format for the bootstrap messages.
 *
 *     field  = varint(number << 3 | type), then by type
 *              0: varint    1: 8 bytes    2: varint(length) and so many bytes    5: 4 bytes
 *
 * The protobuf library costs 50 ms of loading, more than all else that `start` does.
 */
export type Field = number | Uint8Array

/** The top-level fields of a message, the last one of each number; `undefined` if it is malformed. */
export function readFields(bytes: Uint8Array): ReadonlyMap<number, Field> | undefined {
  const fields = new Map<number, Field>()
  const reader = new Reader(bytes)
  while (reader.more) {
    const tag = reader.varint()
    const value = tag === undefined ? undefined : reader.value(tag & 7)
    if (tag === undefined || value === undefined) return undefined
    fields.set(tag >>> 3, value)
  }
  return fields
}

/** Every message in a repeated field; none if `bytes` is malformed. */
export function readRepeated(bytes: Uint8Array, number: number): readonly Uint8Array[] {
  const found: Uint8Array[] = []
  const reader = new Reader(bytes)
  while (reader.more) {
    const tag = reader.varint()
    const value = tag === undefined ? undefined : reader.value(tag & 7)
    if (tag === undefined || value === undefined) return []
    if (tag >>> 3 === number && value instanceof Uint8Array) found.push(value)
  }
  return found
}

class Reader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get more(): boolean {
    return this.#at < this.#bytes.length
  }

  /** Its low 32 bits, signed. */
  varint(): number | undefined {
    let result = 0
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#bytes[this.#at]
      if (byte === undefined) return undefined
      this.#at += 1
      if (shift < 32) result |= (byte & 0x7f) << shift
      if (byte < 0x80) return result
    }
    return undefined
  }

  value(type: number): Field | undefined {
    switch (type) {
      case 0:
        return this.varint()
      case 1:
        return this.#take(8)
      case 2:
        return this.#take(this.varint())
      case 5:
        return this.#take(4)
      default:
        return undefined
    }
  }

  #take(length: number | undefined): Uint8Array | undefined {
    if (length === undefined || length < 0) return undefined
    const end = this.#at + length
    if (end > this.#bytes.length) return undefined
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }
}

/** A field of text. */
export function textField(number: number, text: string): Uint8Array {
  const bytes = Buffer.from(text)
  return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes])
}

/** A field of a number that is not negative. */
export const numberField = (number: number, value: number): Uint8Array =>
  Buffer.concat([varint(number << 3), varint(value)])

function varint(value: number): Uint8Array {
  const bytes: number[] = []
  let rest = value
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80)
  return Uint8Array.from([...bytes, rest])
}
