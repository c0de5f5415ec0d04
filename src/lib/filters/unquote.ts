const simple: ReadonlyMap<string, number> = new Map([
  ['a', 0x07],
  ['b', 0x08],
  ['f', 0x0c],
  ['n', 0x0a],
  ['r', 0x0d],
  ['t', 0x09],
  ['v', 0x0b],
  ['\\', 0x5c],
])

const escape = /\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-7]{3})|([^]))/gu

/**
 * The meaning of a Go string literal, whose quotes may also be `/` or `|`.
 *
 * Escapes of one byte (`\x`, octal) are bytes of UTF-8, not characters.
 * @returns undefined when it is not one.
 */
export function unquote(literal: string): string | undefined {
  const quote = literal[0]
  if (literal.length < 2 || quote === undefined || literal.at(-1) !== quote) return undefined
  const body = literal.slice(1, -1)
  if (body.includes('\n')) return undefined
  const parts: Uint8Array[] = []
  let done = 0
  for (const match of body.matchAll(escape)) {
    const bytes = meaning(match, quote)
    if (!bytes) return undefined
    parts.push(Buffer.from(body.slice(done, match.index)), bytes)
    done = match.index + match[0].length
  }
  parts.push(Buffer.from(body.slice(done)))
  return Buffer.concat(parts).toString()
}

function meaning(match: RegExpExecArray, quote: string): Uint8Array | undefined {
  const [, hex, short, long, octal, char] = match
  if (hex !== undefined) return Buffer.of(Number.parseInt(hex, 16))
  if (octal !== undefined) {
    const byte = Number.parseInt(octal, 8)
    return byte > 0xff ? undefined : Buffer.of(byte)
  }
  const point = short ?? long
  if (point !== undefined) {
    const value = Number.parseInt(point, 16)
    return value > 0x10ffff ? undefined : Buffer.from(String.fromCodePoint(value))
  }
  if (char === quote) return Buffer.from(quote)
  const byte = simple.get(char ?? '')
  return byte === undefined ? undefined : Buffer.of(byte)
}
