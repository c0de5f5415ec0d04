import { chmod, mkdir } from 'node:fs/promises'

import type { Context } from '#core/context.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { Usage } from '#core/snapshots/snapshotter.ts'
import type { MetaStore, Reservation } from '#core/snapshots/storage/meta-store.ts'
import { openStore } from '#core/snapshots/storage/open-store.ts'
import { type NewDir, SnapshotDirs } from '#core/snapshots/storage/snapshot-dirs.ts'
import type { CreateOptions, Snapshot, StoredSnapshot } from '#core/snapshots/storage/storage.ts'
import { type Backing, StoredSnapshotter } from '#core/snapshots/storage/stored-snapshotter.ts'
import { copyTree } from '#lib/fs/copy-tree.ts'
import { diskUsage } from '#lib/fs/disk-usage.ts'
import { syncFileSystem } from '#sys/file.ts'
import { tryLock } from '#sys/flock.ts'
import { spreadDirectories } from '#sys/inode-flags.ts'

/** Opens the snapshots in `root`, which is made when it is missing. */
export async function openNative(ctx: Context, root: string): Promise<StoredSnapshotter> {
  const dirs = new SnapshotDirs(root)
  spreadDirectories(dirs.path)
  return new StoredSnapshotter(await openStore(ctx, root, tryLock), new NativeBacking(dirs))
}

/**
 * Snapshots by copying: each is a whole tree in `snapshots/<id>`, on any file system. A view has no
 * tree of its own, it is its parent's.
 */
class NativeBacking implements Backing {
  readonly #dirs: SnapshotDirs

  constructor(dirs: SnapshotDirs) {
    this.#dirs = dirs
  }

  async make(
    ctx: Context,
    { kind }: CreateOptions,
    { id, parentId }: Reservation,
  ): Promise<NewDir | undefined> {
    if (kind === 'view' && parentId !== undefined) return undefined
    return await this.#dirs.make(ctx, String(id), async (path) => {
      await mkdir(path)
      await chmod(path, 0o755)
      if (parentId !== undefined) await copyParent(ctx, this.#dirs.of(parentId), path)
    })
  }

  mounts({ id, info, parentIds }: Snapshot): readonly Mount[] {
    const active = info.kind === 'active'
    const source = this.#dirs.of(active ? id : (parentIds[0] ?? id))
    return [{ type: 'bind', source, options: ['rbind', active ? 'rw' : 'ro'] }]
  }

  async measure(ctx: Context, { id }: StoredSnapshot): Promise<Usage> {
    return await diskUsage(this.#dirs.of(id), ctx)
  }

  /** Whoever has filled it need not have flushed it, and nobody looks at its files again. */
  async seal(_ctx: Context, { id }: StoredSnapshot): Promise<undefined> {
    await syncFileSystem(this.#dirs.of(id))
  }

  async discard(ctx: Context, { id }: StoredSnapshot): Promise<void> {
    const garbage = await this.#dirs.retire(id)
    if (garbage !== undefined) await this.#dirs.remove(ctx, [garbage])
  }

  async cleanup(ctx: Context, store: MetaStore): Promise<void> {
    await this.#dirs.cleanup(ctx, store)
  }
}

async function copyParent(ctx: Context, from: string, to: string): Promise<void> {
  try {
    await copyTree(from, to, ctx)
  } catch (err) {
    ctx.signal.throwIfAborted()
    throw new Error('copying of parent failed', { cause: err })
  }
}
