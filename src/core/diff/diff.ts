import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Mount } from '#core/mount/mount.ts'

/** A label: what a compressed blob is when it is not compressed, the digest that names it in an image. */
export const uncompressedLabel = 'containerd.io/uncompressed'

/**
 * An annotation of a layer to apply, in a request: what is below it is not there yet, and will be put
 * under it by the commit. A layer that needs it, because it leaves directories out or gives a file of
 * theirs a second name, is answered with `failed_precondition` as soon as that is seen. A differ that
 * does so has a capability of this name.
 */
export const aloneAnnotation = 'io.wharf.unpack.alone'

/**
 * A blob that is still coming, in a file that grows from its start. It can be sent to other threads,
 * which wait on `there` for more.
 */
export interface ComingBlob {
  readonly path: string
  /** What it will have, in bytes. */
  readonly size: number
  /** One number in shared memory: the bytes that are in the file; -1 when no more will come. */
  readonly there: BigInt64Array
}

/** The capability of a differ that extracts blobs while they come. */
export const comingCapability = 'io.wharf.unpack.coming'

export interface ApplyOptions {
  /** Extract from there what the content store will have later. Nobody has looked at its digest yet. */
  readonly coming?: ComingBlob | undefined
  /** What is below a layer that is applied alone will be told to `settle`, so that it may leave out directories. */
  readonly settles?: boolean | undefined
  /** For stream processors, by their id. */
  readonly payloads?: Readonly<Record<string, Any>>
}

/** The descriptor of a layer that was applied, uncompressed: its digest is the diff ID. */
export interface Applied extends Descriptor {
  /**
   * Where the layer left out directories, gives them the owners, modes and attributes that they have in
   * the layers below, whose directories are given, nearest first.
   */
  readonly settle?: ((ctx: Context, below: readonly string[]) => Promise<void>) | undefined
}

export interface CompareOptions {
  /** Of the layer to make; empty for the default, gzip. */
  readonly mediaType?: string
  /** The upload to write through; empty for a random one. */
  readonly ref?: string
  readonly labels?: Labels
  readonly sourceDateEpoch?: Date | undefined
}

/** Turns layers into files and files into layers. */
export interface Differ {
  /**
   * Extracts the layer `layer` of the content store into `mounts`.
   *
   * @throws `not_found` when the blob is missing; `unimplemented` for a media type that is not its own,
   * and then the next differ is asked.
   */
  apply(
    ctx: Context,
    layer: Descriptor,
    mounts: readonly Mount[],
    options?: ApplyOptions,
  ): Promise<Applied>

  /** Writes what `upper` changes on `lower` to the content store. @returns the layer's descriptor. */
  compare(
    ctx: Context,
    lower: readonly Mount[],
    upper: readonly Mount[],
    options?: CompareOptions,
  ): Promise<Descriptor>
}
