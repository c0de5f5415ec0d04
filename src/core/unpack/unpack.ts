import type { Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import type { ComingBlob, Differ } from '#core/diff/diff.ts'
import type { ImageConfig, Manifest, ManifestEntry } from '#core/images/oci.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import type { KeyedMutex } from '#lib/async/keyed-mutex.ts'
import type { Semaphore } from '#lib/async/semaphore.ts'

/*
 * Unpacking makes the layers of an image into snapshots that stand on each other:
 *
 *     layer 0   ── arrives ── extract ─────── commit
 *     layer 1   ── arrives ───── extract ──┐       └── commit on 0
 *     layer 2   ── arrives ── extract ─────┴────────────────────── commit on 1
 *
 * A layer is extracted as soon as its blob has come, or while it comes, alone if the snapshotter can put it on its parent
 * later and the differ tells when it cannot wait for that; else when its parent is there.
 *
 * Source: upstream `core/unpack/unpacker.go`.
 */

/** Where layers come from and go to: local or over a connection. */
export interface UnpackPlace {
  readonly content: Pick<Store, 'update'>
  readonly differ: Pick<Differ, 'apply'>
  readonly snapshotter: Snapshotter
  /** For the labels that tie snapshots to the config. */
  readonly snapshotterName: string
  /** Whether layers can be extracted before those below them are there. Asked when more than one is missing. */
  canRebase(ctx: Context): Promise<boolean>
  /** Whether what is below a layer that was extracted alone is told when it is put there. */
  readonly settles?: boolean
  /** Whether the differ extracts blobs while they come. */
  readonly takesComing?: boolean
  /** Whether the snapshotter wants to know where layers come from, to get them itself: by annotations. */
  readonly wantsSources?: boolean
  /** Type of the configs of images that are unpacked there; any that is an image's own when absent. */
  readonly configType?: string
  /** Types that are layers there, besides those of OCI and Docker. */
  readonly layerTypes?: readonly string[]
  /** How many layers of one image are extracted at once. */
  readonly atOnce: number
  /** Who may extract, where all images together have so many turns; then `atOnce` does not count. */
  readonly turns?: Semaphore
  /**
   * The same for all who unpack to the same snapshotters, so that a layer is unpacked once. Its keys have
   * the namespace and the snapshotter in them.
   */
  readonly locks: KeyedMutex
}

/** An image for one platform. */
export interface ImageToUnpack {
  /** What it is called, for messages. */
  readonly name?: string
  readonly manifest: Manifest
  readonly config: ImageConfig
}

export interface UnpackProgress {
  readonly event: 'extracting' | 'extracted'
  readonly layer: ManifestEntry
}

export interface UnpackOptions {
  /**
   * Resolves when the blob of `layer` is in the content store; without it they all are. Some time before, it may
   * call `onComing`.
   */
  readonly arrived?: (
    ctx: Context,
    layer: ManifestEntry,
    onComing: (blob: ComingBlob) => void,
  ) => Promise<void>
  readonly onProgress?: (progress: UnpackProgress) => void
}

/**
 * Makes the layers of an image into snapshots and ties them to its config, so that the collector keeps them
 * while the image is there. Layers that are there are not asked for: `arrived` is called, at once, for those
 * that are missing.
 *
 * @returns the chain ID of the top layer, which is the name of its snapshot.
 * @throws `failed_precondition` for a layer whose content is not what the config says.
 */
export type Unpack = (
  ctx: Context,
  place: UnpackPlace,
  image: ImageToUnpack,
  options?: UnpackOptions,
) => Promise<string>
