import type { Context } from '#core/context.ts'
import type { Descriptor, Image } from '#core/images/images.ts'
import type { Platform } from '#core/platforms/platforms.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Remotes } from '#core/remotes/remotes.ts'

/*
 * A transfer brings images from one place to another and tells how far it is.
 *
 *     registry ── pull ──►               ── push ───► registry
 *                         image store
 *     archive ── import ─►  (tag)        ── export ─► archive
 *
 * The image store is names in `ctx.namespace`, the content they point at, and the snapshots that it was
 * unpacked to. What a transfer makes is held by a lease of its own until a name holds it, unless
 * `ctx.lease` names one. A name changes last: whoever sees it finds everything that belongs to it. After a failure
 * no name has changed; what has been loaded serves the next try if that comes before the collector.
 *
 * Source: upstream `core/transfer/transfer.go`, `core/transfer/local`.
 */

/** How far one thing is. Told often, so whoever listens decides how much of it to pass on. */
export interface Progress {
  /**
   * What is being done, in containerd's words: `waiting`, `downloading`, `complete`, `already exists`,
   * `extracting`, `extracted`, `uploading`, `saved`, …, and in clients `exporting` and `importing` of an
   * archive; of the transfer itself, a sentence.
   */
  readonly event: string
  /** What it is done to, as `layer-sha256:…`, or `archive`; empty when it is the transfer itself. */
  readonly name?: string | undefined
  /** Names of what it belongs to. */
  readonly parents?: readonly string[] | undefined
  /** Bytes done, out of `total`; both are of what travels, so compressed where that is. */
  readonly progress?: number | undefined
  readonly total?: number | undefined
  readonly descriptor?: Descriptor | undefined
}

/** The name of an archive in what is told of its transfer. */
export const archiveName = 'archive'

/** Hears how far a transfer is. It must not throw, and nothing waits for it. */
export type ReportProgress = (progress: Progress) => void

export interface TransferOptions {
  readonly onProgress?: ReportProgress
}

/** Another name that images from an archive or an index get. Source: upstream `core/transfer/image/imagestore.go`. */
export interface ImageReference {
  readonly name: string
  /** Put before the name that the index has for an image; else `name` is the whole name. */
  readonly isPrefix: boolean
  /** A name that another image of the same transfer got may be taken. */
  readonly allowOverwrite: boolean
  /** Also `<name>@<digest>`. */
  readonly addDigest: boolean
  /** `<name>@<digest>` only for images that get no other name. */
  readonly skipNamedDigest: boolean
}

/** Where to unpack images of a platform to. */
export interface UnpackTarget {
  /** This machine's when absent. */
  readonly platform?: Platform | undefined
  /** That of the configuration when absent. */
  readonly snapshotter?: string | undefined
  /** Type of the image's config, where it is known: a place may be for one type alone. */
  readonly configType?: string | undefined
}

/** What becomes of what comes in. */
export interface ImageTarget {
  /** The name it gets; empty for an import whose names are all in the archive. */
  readonly name: string
  readonly labels?: Labels
  /** Which platforms are loaded; all when empty. */
  readonly platforms?: readonly Platform[]
  /** Load manifests and configs of all platforms, layers only of those. */
  readonly allMetadata?: boolean
  /** Load no more manifests of one index than this, those that fit best; 0 for as many as fit. */
  readonly manifestLimit?: number
  readonly extraReferences?: readonly ImageReference[]
  readonly unpacks?: readonly UnpackTarget[]
  /** Of an import: leave layers to the collector, who takes them when the image has its names. */
  readonly discardLayers?: boolean
}

/** Which part of an image goes out. */
export interface ImageSource {
  readonly name: string
  /** All that is there when empty. */
  readonly platforms?: readonly Platform[]
}

/** Bytes of an archive: an OCI layout or what `docker save` writes, in tar, also gzipped or as zstd. */
export interface ArchiveSource {
  readonly bytes: AsyncIterable<Uint8Array>
  /** Compress layers that are not. */
  readonly forceCompress?: boolean
}

export interface ExportOptions extends TransferOptions {
  /** Also what belongs to other platforms than `platforms` and is there. */
  readonly allPlatforms?: boolean
  /** Leave out `manifest.json`, which makes the archive one that Docker can load. */
  readonly skipCompatibilityManifest?: boolean
  readonly skipNonDistributable?: boolean
}

/** A registry and who one is there. Owned by the caller, who disposes `remotes`. */
export interface RegistryEnd {
  /** `docker.io/library/alpine:3.20`. */
  readonly reference: string
  readonly remotes: Remotes
}

/**
 * Transfers of `ctx.namespace`. Every method throws `failed_precondition` without a namespace, what the
 * stores and the registry throw, and the reason of `ctx.signal`.
 */
export interface Transferrer {
  /**
   * Directories of hosts.toml files that count for whoever names none: the configuration's
   * `config_path`.
   */
  readonly hostsDirs?: readonly string[]

  /**
   * Resolves, asks the verifiers, loads, unpacks, and names. Work that another transfer is doing is
   * waited for, not done again, in whatever namespace.
   *
   * @throws `not_found` when the registry has no such image, or the image no wanted platform: the
   * message lists those it has. `permission_denied` when a verifier refuses.
   */
  pull(
    ctx: Context,
    from: RegistryEnd,
    into: ImageTarget,
    options?: TransferOptions,
  ): Promise<Image>

  /** @throws `not_found` when there is no such image, or a part of it is not there. */
  push(ctx: Context, from: ImageSource, to: RegistryEnd, options?: TransferOptions): Promise<void>

  /** @throws `invalid_argument` for what is no archive; `not_found` for one that is not complete. */
  import(
    ctx: Context,
    from: ArchiveSource,
    into: ImageTarget,
    options?: TransferOptions,
  ): Promise<readonly Image[]>

  /** The bytes of an archive of `images`, as they are asked for. @throws `not_found`. */
  export(
    ctx: Context,
    images: readonly ImageSource[],
    options?: ExportOptions,
  ): AsyncIterable<Uint8Array>

  /** Gives an image another name; an image that has it already is replaced. @throws `not_found`. */
  tag(ctx: Context, name: string, into: ImageTarget): Promise<Image>
}
