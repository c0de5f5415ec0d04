import type { ContainerStore } from '#core/containers/containers.ts'
import type { Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import type { CollectibleResource, CollectionStats } from '#core/gc/gc.ts'
import type { ImageStore } from '#core/images/images.ts'
import type { LeaseManager } from '#core/leases/leases.ts'
import type { NamespaceStore } from '#core/namespaces/namespaces.ts'
import type { SandboxStore } from '#core/sandbox/store.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'

/**
 * Everything the daemon remembers, in one database (`meta.db`).
 *
 * `content` and `snapshotters` are each namespace's view of the backends: names, labels and leases
 * are kept here, bytes there. Every method needs `ctx.namespace`, except those of `namespaces`.
 *
 * It publishes `/content/create`, `/snapshot/prepare`, `/snapshot/commit` and `/snapshot/remove`,
 * and for images that the collector removes `/images/delete`. All other events of namespaces,
 * containers, images and content are published by their services.
 */
export interface Metadata extends AsyncDisposable {
  readonly namespaces: NamespaceStore
  readonly containers: ContainerStore
  readonly images: ImageStore
  readonly leases: LeaseManager
  readonly sandboxes: SandboxStore
  readonly content: Store
  /** By name of the backend: `overlayfs`, `native`, … */
  readonly snapshotters: ReadonlyMap<string, Snapshotter>
  /**
   * Has objects that are not in the database take part in collections, until it is disposed of.
   *
   * @throws `already_exists` for a second resource of one type, `invalid_argument` for the type of a record.
   */
  registerCollectible(resource: CollectibleResource): Disposable
  /** Removes what nothing refers to, from the database and then from the backends. */
  collect(ctx: Context): Promise<CollectionStats>
  /** Calls `listener` after each write; `deleted` says that something may have become garbage. */
  onMutation(listener: (mutation: { readonly deleted: boolean }) => void): Disposable
}
