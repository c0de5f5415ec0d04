import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Mount } from '#core/mount/mount.ts'

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
