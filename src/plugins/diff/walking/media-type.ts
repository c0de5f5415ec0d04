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
