/**
 * File names as the kernel has them are bytes, and most of them are UTF-8. A byte string is the
 * decoded text, in which every byte that is not part of valid UTF-8 stands as one lone surrogate,
 * U+DC80 to U+DCFF (the scheme of Python's PEP 383). Text and bytes convert both ways without loss.
 */

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The byte string of `bytes`. */
export function fromBytes(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes)
  } catch {
    return escapeInvalid(bytes)
  }
}

/** The bytes of a byte string. A lone surrogate that stands for no byte becomes U+FFFD. */
export function toBytes(text: string): Uint8Array<ArrayBuffer> {
  if (text.isWellFormed()) return Buffer.from(text)
  const parts: Buffer[] = []
  for (const char of text) {
    const unit = char.charCodeAt(0)
    const isByte = char.length === 1 && unit >= 0xdc80 && unit <= 0xdcff
    parts.push(isByte ? Buffer.of(unit - 0xdc00) : Buffer.from(char))
  }
  return Buffer.concat(parts)
}

function escapeInvalid(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; ) {
    const length = validLength(bytes, at)
    if (length === 0) text += String.fromCharCode(0xdc00 + (bytes[at] ?? 0))
    else text += strict.decode(bytes.subarray(at, at + length))
    at += Math.max(length, 1)
  }
  return text
}

/** How many bytes the valid UTF-8 character at `at` has; 0 when there is none. */
function validLength(bytes: Uint8Array, at: number): number {
  for (let length = 1; length <= 4 && at + length <= bytes.length; length++) {
    try {
      strict.decode(bytes.subarray(at, at + length))
      return length
    } catch {
      // Not a whole character yet.
    }
  }
  return 0
}
