import { chmod } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import type { Context } from '#core/context.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { Info, SnapshotOptions, Snapshotter, Usage } from '#core/snapshots/snapshotter.ts'
import { refuseRebase } from '#core/snapshots/rebase/refuse.ts'
import { MetaStore } from '#core/snapshots/storage/meta-store.ts'
import { SnapshotDirs } from '#core/snapshots/storage/snapshot-dirs.ts'
import type { CreateOptions, Snapshot } from '#core/snapshots/storage/storage.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { diskUsage } from '#lib/fs/disk-usage.ts'
import { syncFileSystem } from '#sys/file.ts'
import { tryLock } from '#sys/flock.ts'

import { copyTree } from './copy-tree.ts'

/** How long another process may take to close the database, in ms. */
const lockTimeoutMs = 1000

/**
 * Snapshots by copying: each is a whole tree in `snapshots/<id>`, on any file system. A view has no
 * tree of its own, it is its parent's.
 */
export class NativeSnapshotter implements Snapshotter {
  readonly #store: MetaStore
  readonly #dirs: SnapshotDirs

  private constructor(store: MetaStore, dirs: SnapshotDirs) {
    this.#store = store
    this.#dirs = dirs
  }

  /** Opens the snapshots in `root`, which is made when it is missing. */
  static async open(ctx: Context, root: string): Promise<NativeSnapshotter> {
    const dirs = new SnapshotDirs(root)
    const { signal } = ctx
    const db = await openDatabase(join(root, 'metadata.db'), {
      signal,
      lock: tryLock,
      lockTimeoutMs,
    })
    return new NativeSnapshotter(new MetaStore(db), dirs)
  }

  async stat(ctx: Context, key: string): Promise<Info> {
    ctx.signal.throwIfAborted()
    return await Promise.try(() => this.#store.info(key).info)
  }

  async update(
    ctx: Context,
    info: Pick<Info, 'name' | 'labels'>,
    paths: readonly string[],
  ): Promise<Info> {
    return (await this.#store.update(ctx, info, paths)).info
  }

  async usage(ctx: Context, key: string): Promise<Usage> {
    ctx.signal.throwIfAborted()
    const { id, info, usage } = this.#store.info(key)
    return info.kind === 'active' ? await diskUsage(this.#dirs.of(id), ctx) : usage
  }

  async mounts(ctx: Context, key: string): Promise<readonly Mount[]> {
    ctx.signal.throwIfAborted()
    return await Promise.try(() => this.#mounts(this.#active(key)))
  }

  async prepare(
    ctx: Context,
    key: string,
    parent: string,
    options: SnapshotOptions = {},
  ): Promise<readonly Mount[]> {
    return await this.#create(ctx, { kind: 'active', key, parent, labels: options.labels })
  }

  async view(
    ctx: Context,
    key: string,
    parent: string,
    options: SnapshotOptions = {},
  ): Promise<readonly Mount[]> {
    return await this.#create(ctx, { kind: 'view', key, parent, labels: options.labels })
  }

  async commit(
    ctx: Context,
    name: string,
    key: string,
    options: SnapshotOptions = {},
  ): Promise<void> {
    ctx.signal.throwIfAborted()
    refuseRebase(this.#store, key, options)
    const measure = async (id: string): Promise<Usage> => {
      const dir = this.#dirs.of(id)
      // A view, which cannot be committed, has no directory of its own.
      const [usage] = await Promise.all([diskUsage(dir, ctx), syncFileSystem(dirname(dir))])
      return usage
    }
    await this.#store.commit(ctx, { name, key }, options, measure)
  }

  async remove(ctx: Context, key: string): Promise<void> {
    const { id } = await this.#store.remove(ctx, key)
    const garbage = await this.#dirs.retire(id)
    if (garbage !== undefined) await this.#dirs.remove(ctx, [garbage])
  }

  async *list(ctx: Context, filters?: readonly string[]): AsyncGenerator<Info, void, undefined> {
    for (const { info } of this.#store.list(filters)) {
      ctx.signal.throwIfAborted()
      yield await Promise.resolve(info)
    }
  }

  async cleanup(ctx: Context): Promise<void> {
    await this.#dirs.cleanup(ctx, this.#store)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store[Symbol.asyncDispose]()
  }

  async #create(ctx: Context, options: CreateOptions): Promise<readonly Mount[]> {
    ctx.signal.throwIfAborted()
    if (options.kind === 'view' && options.parent !== '') {
      return this.#mounts(await this.#store.create(ctx, options))
    }
    const reserved = this.#store.reserve(options)
    const { id, parentId } = reserved
    await using dir = await this.#dirs.make(ctx, String(id), async (path) => {
      await chmod(path, 0o755)
      if (parentId !== undefined) await copyTree(ctx, this.#dirs.of(parentId), path)
    })
    const snapshot = await this.#store.create(ctx, options, reserved)
    dir.keep()
    return this.#mounts(snapshot)
  }

  #active(key: string): Snapshot {
    try {
      return this.#store.snapshot(key)
    } catch (err) {
      throw new Error('failed to get snapshot mount', { cause: err })
    }
  }

  #mounts({ id, info, parentIds }: Snapshot): readonly Mount[] {
    const active = info.kind === 'active'
    const source = this.#dirs.of(active ? id : (parentIds[0] ?? id))
    return [{ type: 'bind', source, options: ['rbind', active ? 'rw' : 'ro'] }]
  }
}
