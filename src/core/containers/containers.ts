import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'

/** Which shim runs a container, and what it is told. */
export interface RuntimeInfo {
  readonly name: string
  readonly options?: Any | undefined
}

/** What to run: a record, which says nothing about whether it runs. */
export interface Container {
  readonly id: string
  readonly labels: Labels
  /** Name of the image it was made from; informational. */
  readonly image: string
  readonly runtime: RuntimeInfo
  readonly spec?: Any | undefined
  /** Key of the root file system, in `snapshotter`. */
  readonly snapshotKey: string
  readonly snapshotter: string
  readonly sandbox: string
  readonly extensions: Readonly<Record<string, Any>>
  readonly createdAt: Date
  readonly updatedAt: Date
}

/** The fields a caller gives; times are the store's. */
export type NewContainer = Omit<Container, 'createdAt' | 'updatedAt'>

/** Containers of `ctx.namespace`. Every method throws `failed_precondition` without a namespace. */
export interface ContainerStore {
  /** @throws `not_found`. */
  get(ctx: Context, id: string): Promise<Container>
  /** Those that match any of `filters`; all when there is none. @throws `invalid_argument`. */
  list(ctx: Context, filters?: readonly string[]): Promise<readonly Container[]>
  /** @throws `already_exists`; `invalid_argument` for a bad id, label, or missing runtime or spec. */
  create(ctx: Context, container: NewContainer): Promise<Container>
  /**
   * Replaces the fields named by `paths` (`labels`, `labels.<key>`, `spec`, `extensions`,
   * `extensions.<key>`, `image`, `snapshotkey`); without paths everything mutable.
   *
   * @throws `not_found`; `invalid_argument` for an immutable or unknown field.
   */
  update(ctx: Context, container: NewContainer, paths: readonly string[]): Promise<Container>
  /** @throws `not_found`. */
  delete(ctx: Context, id: string): Promise<void>
}
