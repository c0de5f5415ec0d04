import type { Store } from '#core/content/content.ts'
import { readBlob } from '#core/content/read-blob.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import type { Context } from '#core/context.ts'
import { checkType, maxDocumentBytes } from '#core/images/children.ts'
import type { Descriptor } from '#core/images/images.ts'
import {
  isIndex,
  isLayer,
  isManifest,
  parseIndex,
  parseManifest,
  parseObject,
} from '#core/images/oci.ts'
import type { Labels } from '#core/labels/labels.ts'
import { anyPlatform, type PlatformMatcher } from '#core/platforms/match.ts'
import { formatWholePlatform } from '#core/platforms/platforms.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { notFound } from '#lib/errors/errors.ts'

import { convertLayer, isConverted } from './convert-layer.ts'
import { documentBytes, type Json, type RawDescriptor } from './go-documents.ts'
import { isDockerType, type LayerCompression, toOciType } from './media-types.ts'

export interface ConvertOptions {
  /** How layers shall be compressed; as they are without it. zstd needs types of OCI, and gives them. */
  readonly layers?: LayerCompression
  /** Give everything the types of OCI. */
  readonly oci?: boolean
  /** Leave out of indexes what is for others. */
  readonly platforms?: PlatformMatcher
  readonly onProgress?: (progress: ConvertProgress) => void
}

/** What becomes of a layer that is converted. One that stays as it is is not told of. */
export interface ConvertProgress {
  readonly event: 'waiting' | 'converting' | 'complete'
  readonly layer: Descriptor
  /** Bytes of it that have been read. */
  readonly done: number
}

const reference = 'containerd.io/gc.ref.content'

/**
 * Makes an image of another one, with its layers compressed otherwise or other types. What does not change is
 * shared. Nothing holds what is made but the caller's lease, until it has a name.
 *
 * The uncompressed layers of an image stay what they are, and so do its config and its snapshots. What is made has
 * the digests that containerd's `ctr image convert` gives it, but for layers that are compressed anew.
 *
 * Source: upstream `core/images/converter`.
 *
 * @throws `not_found` for content that is missing, or when nothing of an index suits; `invalid_argument` for what is
 * no image.
 */
export async function convertImage(
  ctx: Context,
  content: Store,
  target: Descriptor,
  { layers, oci = layers === 'zstd', platforms = anyPlatform, onProgress }: ConvertOptions,
): Promise<Descriptor> {
  const converter = new Converter(ctx, content, { layers, oci, platforms, onProgress })
  const { mediaType, digest, size, annotations } = target
  const raw = { mediaType, digest, size, ...(annotations && { annotations }) }
  const made = await converter.convert(raw)
  converter.checkKept(digest)
  return {
    mediaType: made.mediaType,
    digest: made.digest,
    size: made.size,
    annotations: made['annotations'] === undefined ? undefined : annotations,
  }
}

interface Wanted {
  readonly layers: LayerCompression | undefined
  readonly oci: boolean
  readonly platforms: PlatformMatcher
  readonly onProgress: ConvertOptions['onProgress']
}

class Converter {
  readonly #ctx: Context
  readonly #content: Store
  readonly #wanted: Wanted
  /** What became of layers, by type and digest: several images may have the same. */
  readonly #layers = new Map<string, Pick<Descriptor, 'mediaType' | 'digest' | 'size'>>()
  #manifests = 0
  /** What indexes had for others. */
  readonly #others = new Set<string>()

  constructor(ctx: Context, content: Store, wanted: Wanted) {
    this.#ctx = ctx
    this.#content = content
    this.#wanted = wanted
  }

  /** What becomes of something; the very same when nothing does. */
  async convert(from: RawDescriptor): Promise<RawDescriptor> {
    const made = await this.#convertContent(from)
    if (!isDockerType(from.mediaType)) return made
    if (this.#wanted.oci) {
      const mediaType = toOciType(made.mediaType)
      return mediaType === made.mediaType ? made : { ...made, mediaType }
    }
    // Docker's documents have no annotations.
    const { annotations, ...bare } = made
    return annotations === undefined ? made : bare
  }

  async #convertContent(from: RawDescriptor): Promise<RawDescriptor> {
    const { mediaType } = from
    if (isManifest(mediaType)) return await this.#convertManifest(from)
    if (isIndex(mediaType)) return await this.#convertIndex(from)
    return isLayer(mediaType) ? await this.#convertLayer(from) : from
  }

  async #convertLayer(from: RawDescriptor): Promise<RawDescriptor> {
    const { layers: to } = this.#wanted
    if (!to || !isConverted(from.mediaType, to)) return from
    const key = `${from.mediaType} ${from.digest}`
    const known = this.#layers.get(key)
    if (known) return { ...from, ...known }
    const onRead = (done: number): void => this.#tell('converting', from, done)
    const made = await convertLayer(this.#ctx, this.#content, from, { to, onRead })
    if (!made) return from
    this.#tell('complete', from, from.size)
    this.#layers.set(key, made)
    return { ...from, ...made }
  }

  #announce(layers: readonly RawDescriptor[]): void {
    const { layers: to } = this.#wanted
    for (const layer of layers) {
      if (!to || !isConverted(layer.mediaType, to)) continue
      if (!this.#layers.has(`${layer.mediaType} ${layer.digest}`)) this.#tell('waiting', layer, 0)
    }
  }

  #tell(event: ConvertProgress['event'], { mediaType, digest, size }: RawDescriptor, done: number) {
    this.#wanted.onProgress?.({ event, layer: { mediaType, digest, size }, done })
  }

  async #convertManifest(from: RawDescriptor): Promise<RawDescriptor> {
    const { document, bytes, labels } = await this.#read(from)
    const { config, layers } = parseManifest(bytes)
    const rawLayers = rawList(document['layers'], layers)
    this.#manifests++
    this.#announce(rawLayers)
    const madeLayers: RawDescriptor[] = []
    for (const [i, layer] of rawLayers.entries()) {
      const made = await this.convert(layer)
      if (made !== layer) relabel(labels, layer.digest, `${reference}.l.${i}`, made.digest)
      madeLayers.push(made)
    }
    const [rawConfig] = rawList([document['config']], [config])
    const madeConfig = rawConfig && (await this.convert(rawConfig))
    if (madeConfig && madeConfig !== rawConfig) {
      relabel(labels, config.digest, `${reference}.config`, madeConfig.digest)
    }
    const mediaType = this.#ownType(document)
    const isSame =
      mediaType === document['mediaType'] &&
      madeConfig === rawConfig &&
      madeLayers.every((layer, i) => layer === rawLayers[i])
    if (isSame) return from
    const made = { ...document, mediaType, config: madeConfig, layers: madeLayers }
    return await this.#write(from, documentBytes('manifest', made), labels)
  }

  async #convertIndex(from: RawDescriptor): Promise<RawDescriptor> {
    const { document, bytes, labels } = await this.#read(from)
    const entries = parseIndex(bytes)
    const rawEntries = rawList(document['manifests'], entries)
    const made: RawDescriptor[] = []
    for (const [i, raw] of rawEntries.entries()) {
      const platform = entries[i]?.platform
      if (platform && !this.#wanted.platforms.matches(platform)) {
        unlabel(labels, raw.digest)
        this.#others.add(formatWholePlatform(platform))
        continue
      }
      const converted = await this.convert(raw)
      if (converted !== raw) relabel(labels, raw.digest, `${reference}.m.${i}`, converted.digest)
      made.push(converted)
    }
    const mediaType = this.#ownType(document)
    const isSame =
      mediaType === document['mediaType'] &&
      made.length === rawEntries.length &&
      made.every((entry, i) => entry === rawEntries[i])
    if (isSame) return from
    const index = { ...document, mediaType, manifests: made }
    return await this.#write(from, documentBytes('index', index), labels)
  }

  /** @throws `not_found` when all that there was is for others. */
  checkKept(digest: string): void {
    if (this.#manifests > 0 || this.#others.size === 0) return
    const has = [...this.#others].join(', ')
    throw notFound(
      `index ${digest} has no image for the platforms that are wanted, only for ${has}`,
    )
  }

  /** What a document says that it is. */
  #ownType({ mediaType }: Json): unknown {
    return this.#wanted.oci && typeof mediaType === 'string' ? toOciType(mediaType) : mediaType
  }

  async #read({ digest, mediaType }: RawDescriptor): Promise<{
    readonly document: Json
    readonly bytes: Uint8Array
    readonly labels: Record<string, string>
  }> {
    const { labels } = await this.#content.info(this.#ctx, digest)
    const bytes = await readBlob(this.#ctx, this.#content, digest, maxDocumentBytes)
    checkType(bytes, mediaType, digest)
    return { document: parseObject(bytes, digest), bytes, labels: { ...labels } }
  }

  async #write(from: RawDescriptor, bytes: Buffer, labels: Labels): Promise<RawDescriptor> {
    const [digest, size] = [digestOf(bytes), bytes.length]
    const ref = `converter-write-json-${digest}`
    await writeBlob(this.#ctx, this.#content, [bytes], { ref, size, digest, labels })
    return { ...from, digest, size }
  }
}

/** Descriptors with all their fields, those that are looked at as they were checked. */
const rawList = (
  values: unknown,
  checked: readonly Pick<Descriptor, 'mediaType' | 'digest' | 'size'>[],
): readonly RawDescriptor[] => {
  const raw: readonly unknown[] = Array.isArray(values) ? values : []
  return checked.map(({ mediaType, digest, size }, i) => {
    const value = raw[i]
    return { ...(typeof value === 'object' ? value : {}), mediaType, digest, size }
  })
}

function relabel(labels: Record<string, string>, from: string, key: string, to: string): void {
  unlabel(labels, from)
  labels[key] = to
}

function unlabel(labels: Record<string, string>, digest: string): void {
  for (const [key, value] of Object.entries(labels)) {
    if (value === digest && key.startsWith(reference)) delete labels[key]
  }
}
