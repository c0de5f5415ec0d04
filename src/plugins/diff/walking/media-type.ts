import { CodedError } from '#lib/errors/errors.ts'

/** The uncompressed layer: what every other type comes down to. */
export const ociLayer = 'application/vnd.oci.image.layer.v1.tar'
export const ociLayerGzip: string = `${ociLayer}+gzip`
export const ociLayerZstd: string = `${ociLayer}+zstd`

const ociForeign = 'application/vnd.oci.image.layer.nondistributable.v1.tar'
const dockerLayer = 'application/vnd.docker.image.rootfs.diff.tar'
const dockerForeign = 'application/vnd.docker.image.rootfs.foreign.diff.tar'

/** Types whose blobs may be compressed in any way: their own first bytes say. */
const detected = new Set([
  dockerLayer,
  dockerForeign,
  `${dockerLayer}.gzip`,
  `${dockerForeign}.gzip`,
  `${dockerLayer}.zstd`,
])

/**
 * Whether a layer of this type may be compressed; if not, it is a plain archive whatever it looks like.
 *
 * @throws `unimplemented` for a type that is no layer, or wrapped in something else (`+encrypted`).
 */
export function mayBeCompressed(mediaType: string): boolean {
  const [base = '', ...suffixes] = mediaType.split('+')
  if (detected.has(base) && suffixes.length === 0) return true
  if (base === ociLayer || base === ociForeign) {
    if (suffixes.length === 0) return false
    if (suffixes.length === 1 && ['gzip', 'zstd'].includes(suffixes[0] ?? '')) return true
  }
  const why = 'no processor for media-type'
  throw new CodedError('unimplemented', `failed to get stream processor for ${mediaType}: ${why}`)
}

/** How a stream is compressed. */
export type Compression = 'none' | 'gzip' | 'zstd'

/** What the first bytes of a stream say. A zstd stream may begin with a skippable frame (RFC 8878 §3.1.2). */
export function detectCompression(start: Uint8Array): Compression {
  const bytes = Buffer.from(start.buffer, start.byteOffset, Math.min(start.length, 8))
  if (bytes.subarray(0, 3).equals(gzipMagic)) return 'gzip'
  if (bytes.subarray(0, 4).equals(zstdMagic)) return 'zstd'
  const skippable = bytes.length >= 8 && (bytes.readUInt32LE(0) & ~0xf) >>> 0 === 0x184d2a50
  return skippable ? 'zstd' : 'none'
}

const gzipMagic = Buffer.of(0x1f, 0x8b, 0x08)
const zstdMagic = Buffer.of(0x28, 0xb5, 0x2f, 0xfd)
