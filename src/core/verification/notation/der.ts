/*
 *   tag   length            contents
 *   30    82 01 2f          …           a tag below 31, a length in up to four bytes
 *
 * As much of DER as certificates need. Source: ITU-T X.690, chapters 8 and 10.
 */

/** One value in a piece of DER. */
export interface DerValue {
  readonly tag: number
  readonly contents: Buffer
}

export const derTags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  sequence: 0x30,
  set: 0x31,
} as const

/** The values one after the other in `bytes`. @throws Error when they do not fill it. */
export function derValues(bytes: Buffer): readonly DerValue[] {
  const values: DerValue[] = []
  let at = 0
  while (at < bytes.length) {
    const tag = bytes[at] ?? 0
    const first = bytes[at + 1] ?? 0
    const extra = first < 0x80 ? 0 : first - 0x80
    const start = at + 2 + extra
    if ((tag & 0x1f) === 0x1f || first === 0x80 || extra > 4 || start > bytes.length) throw broken()
    const length = extra === 0 ? first : bytes.readUIntBE(at + 2, extra)
    if (start + length > bytes.length) throw broken()
    values.push({ tag, contents: bytes.subarray(start, start + length) })
    at = start + length
  }
  return values
}

/** The values in the one value that `bytes` are. @throws Error when it is of another tag, or not one. */
export function derInside(bytes: Buffer, tag: number): readonly DerValue[] {
  const [value, ...others] = derValues(bytes)
  if (value?.tag !== tag || others.length > 0) throw broken()
  return derValues(value.contents)
}

/** `2.5.4.10`. */
export function derOid(contents: Buffer): string {
  const numbers: number[] = []
  let number = 0
  for (const byte of contents) {
    number = number * 128 + (byte & 0x7f)
    if ((byte & 0x80) !== 0) continue
    numbers.push(number)
    number = 0
  }
  const [head = 0, ...tail] = numbers
  const first = Math.min(2, Math.floor(head / 40))
  return [first, head - first * 40, ...tail].join('.')
}

const broken = (): Error => new Error('a certificate is not in DER')
