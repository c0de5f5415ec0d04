import { mediaTypes } from '#core/images/oci.ts'

/** How layers are compressed. */
export type LayerCompression = 'none' | 'gzip' | 'zstd'

const docker = 'application/vnd.docker.image.rootfs'
const oci = 'application/vnd.oci.image.layer'

/** Layers without compression, and what follows that for others. */
const families = [
  { base: `${docker}.diff.tar`, gzip: '.gzip', zstd: '.zstd' },
  { base: `${docker}.foreign.diff.tar`, gzip: '.gzip', zstd: '' },
  { base: `${oci}.v1.tar`, gzip: '+gzip', zstd: '+zstd' },
  { base: `${oci}.nondistributable.v1.tar`, gzip: '+gzip', zstd: '+zstd' },
] as const

/** What OCI has for types of Docker. Source: upstream `core/images/converter/default.go`. */
const ociTypes: Readonly<Record<string, string>> = {
  [mediaTypes.dockerIndex]: mediaTypes.ociIndex,
  [mediaTypes.dockerManifest]: mediaTypes.ociManifest,
  [mediaTypes.dockerConfig]: mediaTypes.ociConfig,
  [`${docker}.diff.tar`]: `${oci}.v1.tar`,
  [`${docker}.diff.tar.gzip`]: `${oci}.v1.tar+gzip`,
  [`${docker}.diff.tar.zstd`]: `${oci}.v1.tar+zstd`,
  [`${docker}.foreign.diff.tar`]: `${oci}.nondistributable.v1.tar`,
  [`${docker}.foreign.diff.tar.gzip`]: `${oci}.nondistributable.v1.tar+gzip`,
}

export const isDockerType = (type: string): boolean => type.startsWith('application/vnd.docker.')

/** OCI's type for one of Docker; any other as it is. */
export const toOciType = (type: string): string =>
  Object.hasOwn(ociTypes, type) ? (ociTypes[type] ?? type) : type

/** The type of a layer when it is compressed otherwise; undefined when its kind is not known. */
export function layerTypeFor(type: string, compression: LayerCompression): string | undefined {
  const family = families.find(({ base, gzip, zstd }) =>
    [base, `${base}${gzip}`, `${base}${zstd}`].includes(type),
  )
  if (!family) return undefined
  return compression === 'none' ? family.base : `${family.base}${family[compression]}`
}
