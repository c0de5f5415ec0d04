import { existsSync, mkdirSync, realpathSync } from 'node:fs'
import { chmod, readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import type { Context } from '#core/context.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { Kind, Usage } from '#core/snapshots/snapshotter.ts'
import type { MetaStore, Reservation } from '#core/snapshots/storage/meta-store.ts'
import { openStore } from '#core/snapshots/storage/open-store.ts'
import type { NewDir } from '#core/snapshots/storage/snapshot-dirs.ts'
import type { CreateOptions, Snapshot, StoredSnapshot } from '#core/snapshots/storage/storage.ts'
import { type Backing, StoredSnapshotter } from '#core/snapshots/storage/stored-snapshotter.ts'
import { diskUsage } from '#lib/fs/disk-usage.ts'
import { fullDisk } from '#lib/fs/full-disk.ts'
import { SkipPlugin } from '#plugin/plugin.ts'
import { copySubvolume, createSubvolume, isBtrfs, limitSubvolume, subvolumeId } from '#sys/btrfs.ts'
import { tryLock } from '#sys/flock.ts'
import { mountInfo } from '#sys/mount-info.ts'

import { removeSubvolume } from './remove.ts'

/** A hint: without quotas nobody follows it. */
const maxSizeLabel = 'containerd.io/snapshot/max-size'

/**
 * Opens the snapshots in `root`, which is made when it is missing.
 *
 * @throws SkipPlugin when `root` is not on btrfs.
 */
export async function openBtrfs(ctx: Context, root: string): Promise<StoredSnapshotter> {
  const { type, source } = mountOf(root)
  if (type !== 'btrfs') {
    throw new SkipPlugin(
      `path ${root} (${type}) must be a btrfs filesystem to be used with the btrfs snapshotter`,
    )
  }
  mkdirSync(root, { recursive: true, mode: 0o700 })
  await chmod(root, 0o700)
  for (const folder of Object.values(folders)) mkdirSync(join(root, folder), { recursive: true })
  const store = await openStore(ctx, root, tryLock)
  return new StoredSnapshotter(store, new BtrfsBacking({ root, device: source, store }))
}

/** What is mounted where `path` is, or will be. */
function mountOf(path: string): { readonly type: string; readonly source: string } {
  let there = path
  while (!existsSync(there)) there = dirname(there)
  const real = realpathSync(there)
  const holds = (point: string): boolean =>
    real === point || real.startsWith(point === '/' ? '/' : `${point}/`)
  // Of several at one place the last is on top.
  let found = { type: 'unknown', source: '', mountPoint: '' }
  for (const each of mountInfo()) {
    if (holds(each.mountPoint) && each.mountPoint.length >= found.mountPoint.length) found = each
  }
  return isBtrfs(real) ? found : { ...found, type: found.type === 'btrfs' ? 'unknown' : found.type }
}

const folders: Readonly<Record<Kind, string>> = {
  active: 'active',
  view: 'view',
  committed: 'snapshots',
}

/**
 * Snapshots as subvolumes: each has all that is below it, and shares the blocks.
 *
 *     active/<id>       can be written to
 *     view/<id>         of a view, read-only
 *     snapshots/<id>    what an active snapshot was when it was committed, read-only
 */
class BtrfsBacking implements Backing {
  readonly #root: string
  readonly #device: string
  readonly #store: MetaStore
  /** Subvolumes that have no record yet. */
  readonly #making = new Set<string>()

  constructor(given: {
    readonly root: string
    readonly device: string
    readonly store: MetaStore
  }) {
    this.#root = given.root
    this.#device = given.device
    this.#store = given.store
  }

  async make(
    ctx: Context,
    { kind, labels = {} }: CreateOptions,
    { id, parentId }: Reservation,
  ): Promise<NewDir> {
    const path = this.#path(kind, String(id))
    return await this.#make(ctx, path, async () => {
      if (parentId === undefined) {
        await createSubvolume(path)
        await chmod(path, 0o755)
      } else {
        const readOnly = kind === 'view'
        await copySubvolume(this.#path('committed', parentId), path, { readOnly })
      }
      const limit = Number(labels[maxSizeLabel])
      if (kind === 'active' && Number.isSafeInteger(limit) && limit > 0) limitSubvolume(path, limit)
    })
  }

  mounts({ id, info }: Snapshot): readonly Mount[] {
    const number = subvolumeId(this.#path(info.kind, id))
    const options = [`subvolid=${number}`, ...(info.kind === 'active' ? [] : ['ro'])]
    return [{ type: 'btrfs', source: this.#device, options }]
  }

  async measure(ctx: Context, { id, info }: StoredSnapshot): Promise<Usage> {
    const path = this.#path(info.kind, id)
    if (info.parent === '') return await diskUsage(path, ctx)
    const besides = this.#path('committed', this.#store.info(info.parent).id)
    return await diskUsage(path, { signal: ctx.signal, besides })
  }

  async seal(ctx: Context, { id }: StoredSnapshot): Promise<NewDir> {
    const path = this.#path('committed', id)
    return await this.#make(ctx, path, async () => {
      await copySubvolume(this.#path('active', id), path, { readOnly: true })
    })
  }

  async discard(ctx: Context, { id, info }: StoredSnapshot): Promise<void> {
    await removeSubvolume(ctx, this.#path(info.kind, id))
  }

  async cleanup(ctx: Context, store: MetaStore): Promise<void> {
    const kinds = ['active', 'view', 'committed'] as const
    // Listed first: whatever is listed and gets a record meanwhile has it by the time records are looked at.
    const listed = await Promise.all(
      kinds.map(async (kind) => {
        const names = await readdir(join(this.#root, folders[kind]))
        return names.map((id) => ({ kind, id, path: this.#path(kind, id) }))
      }),
    )
    const garbage = await store.withUsedIds(ctx, (used) =>
      listed
        .flat()
        .filter(({ kind, id, path }) => used.get(id) !== kind && !this.#making.has(path)),
    )
    for (const { path } of garbage) await removeSubvolume(ctx, path)
  }

  #path(kind: Kind, id: string): string {
    return join(this.#root, folders[kind], id)
  }

  async #make(ctx: Context, path: string, create: () => Promise<void>): Promise<NewDir> {
    this.#making.add(path)
    let unwanted = true
    await using undo = new AsyncDisposableStack()
    undo.defer(async () => {
      this.#making.delete(path)
      if (unwanted) await removeSubvolume(ctx, path)
    })
    await removeSubvolume(ctx, path)
    try {
      await create()
    } catch (err) {
      throw notMade(path, err)
    }
    const held = undo.move()
    return {
      keep: () => void (unwanted = false),
      [Symbol.asyncDispose]: async () => await held.disposeAsync(),
    }
  }
}

const notMade = (path: string, err: unknown): Error =>
  new Error(`failed to make subvolume ${path}`, { cause: fullDisk(err, path) })
