/** How a stream is compressed. */
export type Compression = 'none' | 'gzip' | 'zstd'

/** How many of its first bytes tell. */
export const compressionBytes = 8

/** What the first bytes of a stream say. A zstd stream may begin with a skippable frame (RFC 8878 §3.1.2). */
export function detectCompression(start: Uint8Array): Compression {
  const length = Math.min(start.length, compressionBytes)
  const bytes = Buffer.from(start.buffer, start.byteOffset, length)
  if (bytes.subarray(0, 3).equals(gzipMagic)) return 'gzip'
  if (bytes.subarray(0, 4).equals(zstdMagic)) return 'zstd'
  const skippable = length >= 8 && (bytes.readUInt32LE(0) & ~0xf) >>> 0 === 0x184d2a50
  return skippable ? 'zstd' : 'none'
}

const gzipMagic = Buffer.of(0x1f, 0x8b, 0x08)
const zstdMagic = Buffer.of(0x28, 0xb5, 0x2f, 0xfd)
