import { setLabels } from '#core/content/set-labels.ts'
import type { Context } from '#core/context.ts'
import type { ComingBlob } from '#core/diff/diff.ts'
import { isIndex, isLayer, isManifest, parseConfig } from '#core/images/oci.ts'
import type { Manifest, ManifestEntry } from '#core/images/oci.ts'
import { configPlatform } from '#core/images/oci.ts'
import { referenceLabels } from '#core/images/reference-labels.ts'
import type { Labels } from '#core/labels/labels.ts'
import { distributionSource } from '#core/remotes/distribution-source.ts'
import type { Fetcher } from '#core/remotes/remotes.ts'
import { mayUnpack, type TransferStores } from '#core/transfer/stores.ts'
import type { UnpackTarget } from '#core/transfer/transfer.ts'
import type { UnpackPlace } from '#core/unpack/unpack.ts'
import { unpackImage } from '#core/unpack/unpack-image.ts'
import { group } from '#lib/async/group.ts'
import { invalidArgument, notFound } from '#lib/errors/errors.ts'

import { checkSizes, readConfig, readDocument } from './documents.ts'
import type { Downloads } from './downloads.ts'
import type { ProgressTracker } from './progress.ts'
import type { Selection } from './selection.ts'
import { withSources } from './source-annotations.ts'

/** A manifest of which nobody knows any longer what it means. */
const schema1 = 'application/vnd.docker.distribution.manifest.v1+prettyjws'
/** How deep indexes may lie in indexes. */
const maxDepth = 8

export interface WalkOptions {
  readonly stores: Pick<TransferStores, 'content' | 'unpackPlace'>
  readonly downloads: Downloads
  /** Where it comes from. */
  readonly reference: string
  readonly fetcher: Fetcher
  readonly selection: Selection
  readonly unpacks: readonly UnpackTarget[]
  readonly tracker: ProgressTracker
}

/** How an image is unpacked: where to, and by which config. */
interface Unpacking {
  readonly place: UnpackPlace
  readonly bytes: Uint8Array
}

/**
 * Loads an image from its index down to its layers, and unpacks it while it comes.
 *
 *     index ─► manifest ─► config ─┬─► layer ─► snapshot
 *          └─► manifest ─► config  └─► layer ─► snapshot
 *
 * Siblings are loaded at once. Each document gets labels for all its children, also those that are not
 * loaded, so that they are kept when they come later.
 */
export class Walk {
  readonly #options: WalkOptions
  readonly #seen = new Set<string>()
  /** Manifests that were loaded with their layers. */
  #images = 0
  /** What to say when there is none. */
  #nothing = ''

  constructor(options: WalkOptions) {
    this.#options = options
  }

  /** @throws `not_found` when there is nothing for the platforms that are wanted. */
  async load(ctx: Context, target: ManifestEntry): Promise<void> {
    await this.#visit(ctx, target, 0)
    if (this.#images === 0 && this.#nothing !== '') throw notFound(this.#nothing)
  }

  async #visit(ctx: Context, entry: ManifestEntry, depth: number): Promise<void> {
    if (entry.mediaType === schema1) {
      throw invalidArgument('schema 1 image manifests are no longer supported')
    }
    if (this.#seen.has(entry.digest)) return
    this.#seen.add(entry.digest)
    await this.#fetch(ctx, entry)
    if (!isIndex(entry.mediaType) && !isManifest(entry.mediaType)) return
    const document = await readDocument(ctx, this.#options.stores.content, entry)
    if (document.kind === 'manifest') await this.#manifest(ctx, entry, document.manifest)
    else await this.#index(ctx, entry, document.entries, depth)
  }

  async #index(
    ctx: Context,
    entry: ManifestEntry,
    entries: readonly ManifestEntry[],
    depth: number,
  ): Promise<void> {
    if (depth >= maxDepth) {
      throw invalidArgument(`index ${entry.digest}: indexes are nested deeper than ${maxDepth}`)
    }
    const { selection, tracker } = this.#options
    await this.#refer(ctx, entry, entries)
    const children = selection.ofIndex(entries)
    tracker.belong(children, entry)
    if (children.length === 0) this.#nothing ||= selection.nothingIn(entry.digest, entries)
    await group(
      ctx,
      children.map((child) => async (own: Context) => await this.#visit(own, child, depth + 1)),
    )
  }

  async #manifest(ctx: Context, entry: ManifestEntry, manifest: Manifest): Promise<void> {
    const { selection, tracker } = this.#options
    const { config, layers } = manifest
    checkSizes(entry.digest, manifest)
    const wanted = selection.wantsLayers(entry) ? layers : []
    await this.#refer(ctx, entry, [config, ...layers])
    tracker.belong([config, ...wanted], entry)
    if (wanted.length > 0) this.#images++
    await this.#fetch(ctx, config)
    if (wanted.length === 0) return
    const unpacking = await this.#unpackingOf(ctx, config)
    const types = unpacking?.place.layerTypes ?? []
    const isExtractable = ({ mediaType }: ManifestEntry): boolean =>
      isLayer(mediaType) || types.includes(mediaType)
    const extractable = { config, layers: wanted.filter(isExtractable) }
    await group(ctx, [
      async (own) => await this.#layers(own, entry, extractable, unpacking),
      async (own) =>
        await this.#fetchAll(
          own,
          wanted.filter((layer) => !isExtractable(layer)),
        ),
    ])
  }

  /** Loads layers, through their unpacking when there is a place for that. */
  async #layers(
    ctx: Context,
    { digest }: ManifestEntry,
    manifest: Manifest,
    unpacking: Unpacking | undefined,
  ): Promise<void> {
    const { reference, tracker } = this.#options
    if (!unpacking || manifest.layers.length === 0) {
      return await this.#fetchAll(ctx, manifest.layers)
    }
    const { place, bytes } = unpacking
    const told = place.wantsSources ? withSources(manifest, reference, digest) : manifest
    await unpackImage(
      ctx,
      place,
      { name: reference, manifest: told, config: parseConfig(bytes) },
      {
        arrived: async (own, layer, onComing) => await this.#fetch(own, layer, onComing),
        onProgress: ({ event, layer }) => tracker[event](layer),
      },
    )
  }

  /** Where an image with that config is unpacked to. */
  async #unpackingOf(ctx: Context, config: ManifestEntry): Promise<Unpacking | undefined> {
    const { stores, unpacks } = this.#options
    const configType = config.mediaType
    if (!mayUnpack(stores, unpacks, configType)) return undefined
    const bytes = await readConfig(ctx, stores.content, config.digest)
    const platform = configPlatform(bytes)
    for (const { snapshotter } of unpacks) {
      const place = stores.unpackPlace({ platform, snapshotter, configType })
      if (place) return { place, bytes }
    }
    return undefined
  }

  async #fetchAll(ctx: Context, entries: readonly ManifestEntry[]): Promise<void> {
    await group(
      ctx,
      entries.map((entry) => async (own: Context) => await this.#fetch(own, entry)),
    )
  }

  async #fetch(
    ctx: Context,
    target: ManifestEntry,
    onComing?: (blob: ComingBlob) => void,
  ): Promise<void> {
    const { downloads, fetcher, reference, tracker } = this.#options
    tracker.add(target)
    const wasThere = await downloads.load(ctx, {
      fetcher,
      reference,
      target,
      labels: (known: Labels) => distributionSource(reference, known),
      onProgress: (offset) => tracker.loading(target, offset),
      onComing,
    })
    if (wasThere) tracker.exists(target)
    else tracker.complete(target)
  }

  async #refer(
    ctx: Context,
    { digest }: ManifestEntry,
    children: readonly ManifestEntry[],
  ): Promise<void> {
    const labels = referenceLabels(children)
    await setLabels(ctx, this.#options.stores.content, digest, () => labels)
  }
}
