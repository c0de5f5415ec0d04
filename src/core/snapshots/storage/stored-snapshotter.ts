import type { Context } from '#core/context.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { SnapshotOptions, Usage } from '#core/snapshots/snapshotter.ts'
import { refuseRebase } from '#core/snapshots/rebase/refuse.ts'

import type { MetaStore, Reservation } from './meta-store.ts'
import { RecordedSnapshotter } from './recorded-snapshotter.ts'
import type { NewDir } from './snapshot-dirs.ts'
import type { CreateOptions, Snapshot, StoredSnapshot } from './storage.ts'

/** What a kind of snapshotter does with the files of snapshots; the records are not its business. */
export interface Backing {
  /** Makes the files of a new snapshot, which has no record yet. Undefined when it needs none of its own. */
  make(ctx: Context, options: CreateOptions, reserved: Reservation): Promise<NewDir | undefined>
  /** How to mount it. */
  mounts(snapshot: Snapshot): readonly Mount[]
  /** What an active snapshot uses now, and will as a committed one. */
  measure(ctx: Context, snapshot: StoredSnapshot): Promise<Usage>
  /** What is a snapshot's own of `usage`, where that is measured with what is its parent's. */
  ownUsage?(usage: Usage, parent: StoredSnapshot | undefined): Usage
  /** Makes, from the files of an active snapshot, those of a committed one; durably. */
  seal?(ctx: Context, snapshot: StoredSnapshot): Promise<NewDir | undefined>
  /** Removes the files of a snapshot that is no more. What can't be removed is left to `cleanup`. */
  discard(ctx: Context, removed: StoredSnapshot): Promise<void>
  /** Removes files that no record of `store` speaks for. */
  cleanup(ctx: Context, store: MetaStore): Promise<void>
}

/** For a commit that is about to be refused. */
const nothing: Usage = { inodes: 0, size: 0 }

/**
 * A snapshotter whose records are in a `metadata.db` and whose files are a `Backing`'s. Each
 * snapshot has all that is below it, too, so none can be put on another later.
 */
export class StoredSnapshotter extends RecordedSnapshotter {
  protected override readonly noMount = 'failed to get snapshot mount'
  readonly #backing: Backing

  /** @param store is owned by the snapshotter from then on. */
  constructor(store: MetaStore, backing: Backing) {
    super(store)
    this.#backing = backing
  }

  async usage(ctx: Context, key: string): Promise<Usage> {
    ctx.signal.throwIfAborted()
    const snapshot = this.store.info(key)
    const { info } = snapshot
    const usage =
      info.kind === 'active' ? await this.#backing.measure(ctx, snapshot) : snapshot.usage
    const parent = info.parent === '' ? undefined : this.store.info(info.parent)
    return this.#backing.ownUsage?.(usage, parent) ?? usage
  }

  async commit(
    ctx: Context,
    name: string,
    key: string,
    options: SnapshotOptions = {},
  ): Promise<void> {
    ctx.signal.throwIfAborted()
    refuseRebase(this.store, key, options)
    await using unwanted = new AsyncDisposableStack()
    let sealed: { readonly from: StoredSnapshot; readonly files: NewDir } | undefined
    await this.store.commit(ctx, { name, key }, options, async () => {
      const from = this.store.info(key)
      if (from.info.kind !== 'active' || this.store.has(name)) return nothing
      const files = await this.#backing.seal?.(ctx, from)
      if (files) sealed = { from, files: unwanted.use(files) }
      return await this.#backing.measure(ctx, from)
    })
    if (!sealed) return
    sealed.files.keep()
    await this.#backing.discard(ctx, sealed.from)
  }

  async remove(ctx: Context, key: string): Promise<void> {
    await this.#backing.discard(ctx, await this.store.remove(ctx, key))
  }

  async cleanup(ctx: Context): Promise<void> {
    await this.#backing.cleanup(ctx, this.store)
  }

  protected override async create(ctx: Context, options: CreateOptions): Promise<readonly Mount[]> {
    ctx.signal.throwIfAborted()
    const reserved = this.store.reserve(options)
    await using files = await this.#backing.make(ctx, options, reserved)
    const snapshot = await this.store.create(ctx, options, reserved)
    files?.keep()
    return this.#backing.mounts(snapshot)
  }

  protected override mountsOf(snapshot: Snapshot): readonly Mount[] {
    return this.#backing.mounts(snapshot)
  }
}
