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

export interface ApplyOptions {
  /** For stream processors, by their id. */
  readonly payloads?: Readonly<Record<string, Any>>
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
   * @returns the descriptor of the uncompressed layer: its digest is the diff ID.
   * @throws `not_found` when the blob is missing; `unimplemented` for a media type that is not its own,
   * and then the next differ is asked.
   */
  apply(
    ctx: Context,
    layer: Descriptor,
    mounts: readonly Mount[],
    options?: ApplyOptions,
  ): Promise<Descriptor>

  /** Writes what `upper` changes on `lower` to the content store. @returns the layer's descriptor. */
  compare(
    ctx: Context,
    lower: readonly Mount[],
    upper: readonly Mount[],
    options?: CompareOptions,
  ): Promise<Descriptor>
}
