import type { Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import type { Publisher } from '#core/events/events.ts'
import type { CollectibleResource, CollectionStats } from '#core/gc/gc.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import type { Database } from '#lib/bolt/database.ts'

import { Announcer, type EventEncoder } from './announce.ts'
import { contentBackend, snapshotBackend } from './backends.ts'
import { Collector } from './collector.ts'
import { BoltContainerStore } from './container-store.ts'
import { ContentView } from './content-view.ts'
import { BoltImageStore } from './image-store.ts'
import { BoltLeaseManager } from './lease-manager.ts'
import type { Metadata } from './metadata.ts'
import { isCurrent, migrate } from './migrations.ts'
import { BoltNamespaceStore } from './namespace-store.ts'
import { type Mutation, Records } from './records.ts'
import { BoltSandboxStore } from './sandbox-store.ts'
import { SnapshotView } from './snapshot-view.ts'

/** What metadata is made of. */
export interface MetadataOptions {
  /** Closed together with the metadata. */
  readonly database: Database
  /** The backend for blobs; it stays its owner's, as do the snapshotters. */
  readonly content: Store
  readonly snapshotters: ReadonlyMap<string, Snapshotter>
  readonly publisher: Publisher
  readonly events: EventEncoder
  /** Whether a namespace may have a blob of another one by naming its digest. */
  readonly policy: 'shared' | 'isolated'
}

/**
 * Opens the metadata in a database, which is brought to the current version first; one of a newer
 * version is used as it is.
 */
export async function openMetadata(ctx: Context, options: MetadataOptions): Promise<Metadata> {
  const { database } = options
  if (!database.view(isCurrent)) await database.update(migrate, ctx)
  return new BoltMetadata(options)
}

class BoltMetadata implements Metadata {
  readonly namespaces: BoltNamespaceStore
  readonly containers: BoltContainerStore
  readonly images: BoltImageStore
  readonly leases: BoltLeaseManager
  readonly sandboxes: BoltSandboxStore
  readonly content: ContentView
  readonly snapshotters: ReadonlyMap<string, Snapshotter>
  readonly #records: Records
  readonly #collector: Collector
  readonly #database: Database

  constructor(options: MetadataOptions) {
    const records = new Records(options.database)
    const announcer = new Announcer(options.publisher, options.events)
    const content = contentBackend(options.content)
    const snapshots = Array.from(options.snapshotters, ([name, sn]) => snapshotBackend(name, sn))
    this.namespaces = new BoltNamespaceStore(records)
    this.containers = new BoltContainerStore(records)
    this.images = new BoltImageStore(records)
    this.leases = new BoltLeaseManager(records)
    this.sandboxes = new BoltSandboxStore(records)
    const shared = options.policy === 'shared'
    this.content = new ContentView({ records, announcer, shared, backend: content })
    this.snapshotters = new Map(
      snapshots.map((backend) => [backend.name, new SnapshotView(records, backend, announcer)]),
    )
    // Whatever was cut off when the last daemon ended is found by the first collection.
    records.dirtyContent = true
    for (const { name } of snapshots) records.dirtySnapshotters.add(name)
    this.#records = records
    this.#collector = new Collector({ records, announcer, content, snapshots })
    this.#database = options.database
  }

  registerCollectible(resource: CollectibleResource): Disposable {
    return this.#collector.register(resource)
  }

  async collect(ctx: Context): Promise<CollectionStats> {
    return await this.#collector.collect(ctx)
  }

  onMutation(listener: (mutation: Mutation) => void): Disposable {
    return this.#records.onMutation(listener)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#database[Symbol.asyncDispose]()
  }
}
