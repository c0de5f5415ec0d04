import type { Context } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'

/** What a digest is of, and where it fits. Source: OCI image-spec `descriptor.md`. */
export interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  /** In bytes. */
  readonly size: number
  readonly annotations?: Labels | undefined
}

/** A name for content. */
export interface Image {
  readonly name: string
  readonly labels: Labels
  readonly target: Descriptor
  readonly createdAt: Date
  readonly updatedAt: Date
}

/** The fields a caller gives. `createdAt` and `updatedAt` come from SOURCE_DATE_EPOCH if given. */
export interface NewImage {
  readonly name: string
  readonly labels: Labels
  readonly target: Descriptor
  readonly createdAt?: Date | undefined
  readonly updatedAt?: Date | undefined
}

export interface DeleteImageOptions {
  /** Wait until the collector has removed what only this image held. */
  readonly synchronous?: boolean
  /** Delete only while the image still points there; otherwise `not_found`. */
  readonly target?: Descriptor | undefined
}

/** Images of `ctx.namespace`. Every method throws `failed_precondition` without a namespace. */
export interface ImageStore {
  /** @throws `not_found`. */
  get(ctx: Context, name: string): Promise<Image>
  list(ctx: Context, filters?: readonly string[]): Promise<readonly Image[]>
  /** @throws `already_exists`; `invalid_argument` for an empty name or bad target. */
  create(ctx: Context, image: NewImage): Promise<Image>
  /**
   * Replaces the fields named by `paths` (`labels`, `labels.<key>`, `target`, `annotations`,
   * `annotations.<key>`); without paths all of them.
   *
   * @throws `not_found`, `invalid_argument`.
   */
  update(ctx: Context, image: NewImage, paths: readonly string[]): Promise<Image>
  /** @throws `not_found`. */
  delete(ctx: Context, name: string, options?: DeleteImageOptions): Promise<void>
}
