import { goJson } from '#core/images/archive/layout.ts'

/*
 * Manifests and indexes with all that is in them, written as Go writes them: containerd makes the same bytes of
 * the same changes. What Go has no field for is left out, as there.
 */

export type Json = Readonly<Record<string, unknown>>

/** A descriptor with its other fields. */
export interface RawDescriptor extends Json {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
}

const fields = {
  index: ['schemaVersion', 'mediaType', 'artifactType', 'manifests', 'subject', 'annotations'],
  manifest: [
    'schemaVersion',
    'mediaType',
    'artifactType',
    'config',
    'layers',
    'subject',
    'annotations',
  ],
  descriptor: [
    'mediaType',
    'digest',
    'size',
    'urls',
    'annotations',
    'data',
    'platform',
    'artifactType',
  ],
  platform: ['architecture', 'os', 'os.version', 'os.features', 'variant'],
} as const

/** The bytes of an index or manifest. */
export const documentBytes = (kind: 'index' | 'manifest', document: Json): Buffer =>
  goJson(
    pick(fields[kind], {
      ...document,
      config: descriptor(document['config']),
      layers: descriptors(document['layers']),
      manifests: descriptors(document['manifests']),
      subject: descriptor(document['subject']),
      annotations: sorted(document['annotations']),
    }),
  )

const descriptors = (value: unknown): unknown =>
  Array.isArray(value) ? value.map(descriptor) : value

function descriptor(value: unknown): unknown {
  if (!isJson(value)) return undefined
  const platform = value['platform']
  return pick(fields.descriptor, {
    ...value,
    annotations: sorted(value['annotations']),
    platform: isJson(platform) ? pick(fields.platform, platform) : undefined,
  })
}

/** Those of `keys` that say something, in that order. */
const pick = (keys: readonly string[], value: Json): Json =>
  Object.fromEntries(keys.filter((key) => !isEmpty(value[key])).map((key) => [key, value[key]]))

const isEmpty = (value: unknown): boolean => value === undefined || value === null || value === ''

function sorted(value: unknown): Json | undefined {
  if (!isJson(value) || Object.keys(value).length === 0) return undefined
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

const isJson = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
