import type { Context } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'

/** Keeps what it lists from the collector until it is deleted or expires (`containerd.io/gc.expire`). */
export interface Lease {
  readonly id: string
  readonly labels: Labels
  readonly createdAt: Date
}

/** Something a lease holds. `type` is `content`, `ingests`, `images` or `snapshots/<snapshotter>`. */
export interface Resource {
  readonly id: string
  readonly type: string
}

/** Leases of `ctx.namespace`. */
export interface LeaseManager {
  /** @throws `already_exists`; `invalid_argument` for an empty id. */
  create(ctx: Context, lease: { readonly id: string; readonly labels: Labels }): Promise<Lease>
  /** @throws `not_found`. */
  delete(ctx: Context, id: string, options?: { readonly synchronous?: boolean }): Promise<void>
  list(ctx: Context, filters?: readonly string[]): Promise<readonly Lease[]>
  /** @throws `not_found` for the lease, `unimplemented` for another type. */
  addResource(ctx: Context, id: string, resource: Resource): Promise<void>
  deleteResource(ctx: Context, id: string, resource: Resource): Promise<void>
  listResources(ctx: Context, id: string): Promise<readonly Resource[]>
}
