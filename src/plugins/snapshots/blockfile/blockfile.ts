import { existsSync } from 'node:fs'
import { chmod, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'

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
import { SkipPlugin } from '#plugin/plugin.ts'
import { tryLock } from '#sys/flock.ts'

/** How a snapshotter behaves. */
export interface BlockfileOptions {
  /** An empty file system, which `scratch` is copied from; empty when that is there already. */
  readonly scratchFile: string
  /** Copy it also when there is a `scratch`. */
  readonly recreateScratch: boolean
  /** What file system it is. */
  readonly fsType: string
  /** How it is mounted, besides `loop`. */
  readonly mountOptions: readonly string[]
}

/**
 * Opens the snapshots in `root`, which is made when it is missing.
 *
 * @throws SkipPlugin when there is no file system to begin with.
 */
export async function openBlockfile(
  ctx: Context,
  root: string,
  options: BlockfileOptions,
): Promise<StoredSnapshotter> {
  const scratch = join(root, 'scratch')
  const wanted = options.recreateScratch || !existsSync(scratch)
  if (wanted && options.scratchFile === '') {
    throw new SkipPlugin('no scratch file generator: set scratch_file to an empty file system')
  }
  const dirs = new SnapshotDirs(root)
  if (wanted) await makeScratch(ctx, options.scratchFile, scratch)
  const store = await openStore(ctx, root, tryLock)
  return new StoredSnapshotter(store, new BlockfileBacking(dirs, scratch, options))
}

/** It is there whole or not at all: what is copied from half of it is no file system. */
async function makeScratch(ctx: Context, from: string, to: string): Promise<void> {
  const part = `${to}.part`
  try {
    await rm(part, { force: true })
    await copyFileSystem(ctx, from, part)
    await flush(part)
    await rename(part, to)
  } catch (err) {
    ctx.signal.throwIfAborted()
    throw new Error('failed to generate scratch file', { cause: err })
  }
}

/**
 * Snapshots as files that hold a file system each, mounted by loop devices.
 *
 *     scratch            the file system that a snapshot without a parent begins with
 *     snapshots/<id>     a copy of it, or of the parent's; a view with a parent has none of its own
 *
 * Copies share blocks where the file system below can, and have the holes of what they were made from.
 */
class BlockfileBacking implements Backing {
  readonly #dirs: SnapshotDirs
  readonly #scratch: string
  readonly #options: BlockfileOptions

  constructor(dirs: SnapshotDirs, scratch: string, options: BlockfileOptions) {
    this.#dirs = dirs
    this.#scratch = scratch
    this.#options = options
  }

  async make(
    ctx: Context,
    { kind }: CreateOptions,
    { id, parentId }: Reservation,
  ): Promise<NewDir | undefined> {
    if (kind === 'view' && parentId !== undefined) return undefined
    const [from, what] =
      parentId === undefined ? [this.#scratch, 'scratch'] : [this.#dirs.of(parentId), 'parent']
    return await this.#dirs.make(ctx, String(id), async (path) => {
      try {
        await copyFileSystem(ctx, from, path)
      } catch (err) {
        ctx.signal.throwIfAborted()
        throw new Error(`copying of ${what} failed`, { cause: err })
      }
    })
  }

  mounts({ id, info, parentIds }: Snapshot): readonly Mount[] {
    const { fsType, mountOptions } = this.#options
    const active = info.kind === 'active'
    const source = this.#dirs.of(active ? id : (parentIds[0] ?? id))
    const options = mountOptions.includes('loop') ? mountOptions : [...mountOptions, 'loop']
    return [{ type: fsType, source, options: [...options, active ? 'rw' : 'ro'] }]
  }

  /** The blocks of the file; those it shares with its parent count as if it did not. */
  async measure(ctx: Context, { id }: StoredSnapshot): Promise<Usage> {
    return await diskUsage(this.#dirs.of(id), ctx)
  }

  /** A snapshot's file has what is its parent's. One of containerd may have been counted with its holes. */
  ownUsage({ inodes, size }: Usage, parent: StoredSnapshot | undefined): Usage {
    return { inodes, size: Math.max(0, size - (parent?.usage.size ?? 0)) }
  }

  /** The file itself becomes that of the committed snapshot, once it is on the disk. */
  async seal(_ctx: Context, { id }: StoredSnapshot): Promise<undefined> {
    await flush(this.#dirs.of(id))
  }

  async discard(ctx: Context, { id }: StoredSnapshot): Promise<void> {
    const garbage = await this.#dirs.retire(id)
    if (garbage !== undefined) await this.#dirs.remove(ctx, [garbage])
  }

  async cleanup(ctx: Context, store: MetaStore): Promise<void> {
    await this.#dirs.cleanup(ctx, store)
  }
}

/** What is in it is for the users of its file system, and nobody else's. */
async function copyFileSystem(ctx: Context, from: string, to: string): Promise<void> {
  await copyTree(from, to, ctx)
  await chmod(to, 0o600)
}

async function flush(path: string): Promise<void> {
  await using file = await open(path, 'r+')
  await file.sync()
}
