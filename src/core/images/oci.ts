import type { Descriptor } from '#core/images/images.ts'
import type { Labels } from '#core/labels/labels.ts'
import { digestFault } from '#lib/digest/digest.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

import type { Platform } from '#core/platforms/platforms.ts'

/*
 * Manifests, indexes and configs as images bring them: bytes from anywhere, so each field is looked
 * at before it is used. Source: OCI image-spec, `manifest.md`, `image-index.md`, `config.md`.
 */

/** A descriptor as it stands in a manifest or index. */
export interface ManifestEntry extends Descriptor {
  readonly platform?: Platform | undefined
}

/** What one image for one platform consists of. */
export interface Manifest {
  readonly config: ManifestEntry
  readonly layers: readonly ManifestEntry[]
}

/** The parts of an image's config that matter for running it. */
export interface ImageConfig {
  readonly user: string
  readonly env: readonly string[]
  readonly entrypoint: readonly string[]
  readonly cmd: readonly string[]
  readonly workingDir: string
  readonly stopSignal: string
  /** Digests of the uncompressed layers, bottom first. */
  readonly diffIds: readonly string[]
}

/** Media types, OCI's and Docker's. */
export const mediaTypes = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
} as const

/** Whether content of that type lists manifests. */
export const isIndex = (type: string): boolean =>
  type === mediaTypes.ociIndex || type === mediaTypes.dockerIndex

/** Whether content of that type describes one image. */
export const isManifest = (type: string): boolean =>
  type === mediaTypes.ociManifest || type === mediaTypes.dockerManifest

/** Whether content of that type is a file system change. */
export const isLayer = (type: string): boolean =>
  type.startsWith('application/vnd.oci.image.layer.') ||
  type.startsWith('application/vnd.docker.image.rootfs.')

/** Whether content of that type is a file system change that may not be passed on. */
export const isNonDistributable = (type: string): boolean =>
  type.startsWith('application/vnd.oci.image.layer.nondistributable.') ||
  type.startsWith('application/vnd.docker.image.rootfs.foreign.')

/** Whether content of that type is an image's config. */
export const isConfig = (type: string): boolean =>
  type === mediaTypes.ociConfig || type === mediaTypes.dockerConfig

/** The entries of an index. @throws `invalid_argument` for what is none. */
export const parseIndex = (bytes: Uint8Array): readonly ManifestEntry[] =>
  list(parseObject(bytes, 'index')['manifests']).map(toEntry)

/** @throws `invalid_argument` for what is no manifest. */
export function parseManifest(bytes: Uint8Array): Manifest {
  const { config, layers } = parseObject(bytes, 'manifest')
  return { config: toEntry(config), layers: list(layers).map(toEntry) }
}

/** @throws `invalid_argument` for what is no image config. */
export function parseConfig(bytes: Uint8Array): ImageConfig {
  const root = parseObject(bytes, 'image config')
  const config = record(root['config'])
  return {
    user: text(config['User']),
    env: texts(config['Env']),
    entrypoint: texts(config['Entrypoint']),
    cmd: texts(config['Cmd']),
    workingDir: text(config['WorkingDir']),
    stopSignal: text(config['StopSignal']),
    diffIds: texts(record(root['rootfs'])['diff_ids']).map(checkedDigest),
  }
}

/** What an image is made for, as its config says it. @throws `invalid_argument` for what is no image config. */
export const configPlatform = (bytes: Uint8Array): Platform | undefined =>
  toPlatform(parseObject(bytes, 'image config'))

/** The JSON object in `bytes`. @throws `invalid_argument`, naming it as `what`. */
export function parseObject(bytes: Uint8Array, what: string): Readonly<Record<string, unknown>> {
  const value = parseJson(bytes, what)
  if (!isRecord(value)) throw invalidArgument(`${what} is not a JSON object`)
  return value
}

/** The JSON value in `bytes`. @throws `invalid_argument`, naming it as `what`. */
export function parseJson(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8')) as unknown
  } catch (err) {
    throw invalidArgument(`cannot parse ${what}`, { cause: err })
  }
}

/** `value` if it is an object, else an empty one. */
export const record = (value: unknown): Readonly<Record<string, unknown>> =>
  isRecord(value) ? value : {}

/** `value` if it is text, else an empty one. */
export const text = (value: unknown): string => (typeof value === 'string' ? value : '')

/** The texts in a list; everything else is left out. */
export const texts = (value: unknown): string[] =>
  list(value).filter((item) => typeof item === 'string')

/** `value` if it is a list, else an empty one. */
export const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

function toEntry(value: unknown): ManifestEntry {
  const entry = record(value)
  const size = entry['size']
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw invalidArgument(`invalid descriptor size ${JSON.stringify(size)}`)
  }
  return {
    mediaType: text(entry['mediaType']),
    digest: checkedDigest(text(entry['digest'])),
    size,
    ...(isRecord(entry['annotations']) && { annotations: labels(entry['annotations']) }),
    platform: toPlatform(entry['platform']),
  }
}

function toPlatform(value: unknown): Platform | undefined {
  if (!isRecord(value)) return undefined
  const version = text(value['os.version'])
  const features = texts(value['os.features'])
  return {
    os: text(value['os']),
    architecture: text(value['architecture']),
    variant: text(value['variant']),
    ...(version !== '' && { osVersion: version }),
    ...(features.length > 0 && { osFeatures: features }),
  }
}

const labels = (value: Readonly<Record<string, unknown>>): Labels =>
  Object.fromEntries(Object.entries(value).map(([key, item]) => [key, text(item)]))

function checkedDigest(digest: string): string {
  const fault = digestFault(digest)
  if (fault !== undefined) throw invalidArgument(`${fault} ${JSON.stringify(digest)}`)
  return digest
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
