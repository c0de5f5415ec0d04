import type { Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import { childrenOf } from '#core/images/children.ts'
import { refNameOf } from '#core/images/docker-reference.ts'
import type { Descriptor, Image } from '#core/images/images.ts'
import { isIndex, isManifest, isNonDistributable, type ManifestEntry } from '#core/images/oci.ts'
import { anyPlatform, bestOf, type PlatformMatcher, suitingOf } from '#core/platforms/match.ts'
import type { Labels } from '#core/labels/labels.ts'
import { hasCode, invalidArgument, notFound } from '#lib/errors/errors.ts'

import { nameAnnotation, refNameAnnotation } from './layout.ts'

/** An image that goes into an archive, and what of it. */
export interface ExportedImage {
  readonly image: Image
  /** All that is there without it. */
  readonly platforms?: PlatformMatcher | undefined
}

export interface ExportArchiveOptions {
  /** Also what belongs to other platforms, as far as it is there. */
  readonly allPlatforms?: boolean
  /** Leave out `manifest.json`. */
  readonly skipCompatibilityManifest?: boolean
  readonly skipNonDistributable?: boolean
}

/** A manifest that Docker is to see, and by which names. */
export interface DockerManifest {
  readonly manifest: Descriptor
  readonly names: string[]
}

/** What goes into an archive. */
export interface ExportParts {
  /** For `index.json`: one for each image, with its name. */
  readonly entries: readonly Descriptor[]
  /** By digest. */
  readonly blobs: ReadonlyMap<string, Descriptor>
  readonly docker: readonly DockerManifest[]
}

/**
 * Finds what belongs to images. Source: upstream `core/images/archive/exporter.go`.
 *
 * @throws `not_found` for content that is missing, and for an index without anything for the platforms;
 * `invalid_argument` for an image of something else than manifests.
 */
export async function exportParts(
  ctx: Context,
  content: Pick<Store, 'info' | 'reader'>,
  images: readonly ExportedImage[],
  options: ExportArchiveOptions,
): Promise<ExportParts> {
  const finder = new Finder(ctx, content, options)
  const entries: Descriptor[] = []
  for (const exported of images) {
    const { name, target } = exported.image
    const sources = await distributionSources(ctx, content, target)
    const annotations = {
      ...target.annotations,
      [nameAnnotation]: name,
      [refNameAnnotation]: refNameOf(name),
      ...sources,
    }
    entries.push({ ...target, annotations })
    await finder.add(exported)
  }
  return { entries, blobs: finder.blobs, docker: [...finder.docker.values()] }
}

/** Where content came from is told to who imports it. */
async function distributionSources(
  ctx: Context,
  content: Pick<Store, 'info'>,
  { digest }: Descriptor,
): Promise<Labels> {
  const { labels } = await content.info(ctx, digest)
  const sources = Object.entries(labels).filter(([key]) =>
    key.startsWith('containerd.io/distribution.source'),
  )
  return Object.fromEntries(sources)
}

class Finder {
  readonly blobs = new Map<string, Descriptor>()
  readonly docker = new Map<string, DockerManifest>()
  readonly #ctx: Context
  readonly #content: Pick<Store, 'info' | 'reader'>
  readonly #options: ExportArchiveOptions

  constructor(
    ctx: Context,
    content: Pick<Store, 'info' | 'reader'>,
    options: ExportArchiveOptions,
  ) {
    this.#ctx = ctx
    this.#content = content
    this.#options = options
  }

  async add({ image: { name, target }, platforms }: ExportedImage): Promise<void> {
    if (isManifest(target.mediaType)) {
      await this.#addTree(target)
      this.#name(target, name)
    } else if (isIndex(target.mediaType)) {
      const manifest = await this.#addIndex(target, platforms)
      if (manifest) this.#name(manifest, name)
    } else {
      throw invalidArgument(`only manifests may be exported, and ${name} is ${target.mediaType}`)
    }
  }

  #name(manifest: Descriptor, name: string): void {
    const made = (): DockerManifest => ({ manifest, names: [] })
    this.docker.getOrInsertComputed(manifest.digest, made).names.push(name)
  }

  /** @returns the manifest that suits best; undefined when there is none. */
  async #addIndex(
    index: Descriptor,
    platforms: PlatformMatcher | undefined,
  ): Promise<ManifestEntry | undefined> {
    this.#addBlob(index)
    const entries = await childrenOf(this.#ctx, this.#content, index)
    const wanted = suitingOf(entries, platforms ?? anyPlatform)
    for (const entry of entries) {
      const isWanted = platforms !== undefined && wanted.includes(entry)
      if (isWanted) await this.#addTree(entry)
      else if (!platforms || this.#options.allPlatforms) await this.#addWhatIsThere(entry)
    }
    const there = platforms ? wanted : wanted.filter(({ digest }) => this.blobs.has(digest))
    const [best] = bestOf(there, platforms ?? anyPlatform)
    if (!best && platforms) throw notFound(`no manifest found for platform in ${index.digest}`)
    return best
  }

  /** A blob and all below it. */
  async #addTree(entry: Descriptor): Promise<void> {
    if (this.blobs.has(entry.digest)) return
    this.#addBlob(entry)
    for (const child of await childrenOf(this.#ctx, this.#content, entry)) {
      await this.#addTree(child)
    }
  }

  /** As far as one can tell by what belongs to it: all of it or nothing. */
  async #addWhatIsThere(entry: ManifestEntry): Promise<void> {
    const before = new Set(this.blobs.keys())
    try {
      await this.#addTree(entry)
      for (const [digest, blob] of this.blobs) {
        if (!before.has(digest) && this.#isExported(blob))
          await this.#content.info(this.#ctx, digest)
      }
    } catch (err) {
      if (!hasCode(err, 'not_found')) throw err
      for (const digest of this.blobs.keys()) if (!before.has(digest)) this.blobs.delete(digest)
    }
  }

  #addBlob(descriptor: Descriptor): void {
    if (this.#isExported(descriptor)) this.blobs.set(descriptor.digest, descriptor)
  }

  #isExported({ mediaType }: Descriptor): boolean {
    return !this.#options.skipNonDistributable || !isNonDistributable(mediaType)
  }
}
