import type { Context } from '#core/context.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { Info, SnapshotOptions, Snapshotter, Usage } from '#core/snapshots/snapshotter.ts'

import type { MetaStore } from './meta-store.ts'
import type { CreateOptions, Snapshot, StoredSnapshot } from './storage.ts'

/** A snapshotter whose records are in a `metadata.db`: what all of them do in the same way. */
export abstract class RecordedSnapshotter implements Snapshotter {
  protected readonly store: MetaStore

  /** @param store is owned by the snapshotter from then on. */
  protected constructor(store: MetaStore) {
    this.store = store
  }

  /** What a snapshot that cannot be mounted is told of with. */
  protected abstract readonly noMount: string

  /** Makes the files of a new snapshot, and its record. */
  protected abstract create(ctx: Context, options: CreateOptions): Promise<readonly Mount[]>

  /** How to mount it. */
  protected abstract mountsOf(snapshot: Snapshot): readonly Mount[]

  abstract usage(ctx: Context, key: string): Promise<Usage>
  abstract commit(ctx: Context, name: string, key: string, options?: SnapshotOptions): Promise<void>
  abstract remove(ctx: Context, key: string): Promise<void>
  abstract cleanup(ctx: Context): Promise<void>

  /** A record as clients see it. */
  protected shown({ info }: StoredSnapshot): Info {
    return info
  }

  async stat(ctx: Context, key: string): Promise<Info> {
    ctx.signal.throwIfAborted()
    return await Promise.try(() => this.shown(this.store.info(key)))
  }

  async update(
    ctx: Context,
    info: Pick<Info, 'name' | 'labels'>,
    paths: readonly string[],
  ): Promise<Info> {
    return this.shown(await this.store.update(ctx, info, paths))
  }

  async mounts(ctx: Context, key: string): Promise<readonly Mount[]> {
    ctx.signal.throwIfAborted()
    return await Promise.try(() => this.mountsOf(this.#active(key)))
  }

  async prepare(
    ctx: Context,
    key: string,
    parent: string,
    { labels }: SnapshotOptions = {},
  ): Promise<readonly Mount[]> {
    return await this.create(ctx, { kind: 'active', key, parent, labels })
  }

  async view(
    ctx: Context,
    key: string,
    parent: string,
    { labels }: SnapshotOptions = {},
  ): Promise<readonly Mount[]> {
    return await this.create(ctx, { kind: 'view', key, parent, labels })
  }

  async *list(ctx: Context, filters?: readonly string[]): AsyncGenerator<Info, void, undefined> {
    for (const snapshot of this.store.list(filters)) {
      ctx.signal.throwIfAborted()
      yield await Promise.resolve(this.shown(snapshot))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store[Symbol.asyncDispose]()
  }

  #active(key: string): Snapshot {
    try {
      return this.store.snapshot(key)
    } catch (err) {
      throw new Error(this.noMount, { cause: err })
    }
  }
}
