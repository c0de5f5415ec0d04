import { chmod, lchown, mkdir, stat } from 'node:fs/promises'

import type { Context } from '#core/context.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { Info, Kind, SnapshotOptions, Usage } from '#core/snapshots/snapshotter.ts'
import type { MetaStore } from '#core/snapshots/storage/meta-store.ts'
import { openStore } from '#core/snapshots/storage/open-store.ts'
import { RecordedSnapshotter } from '#core/snapshots/storage/recorded-snapshotter.ts'
import { SnapshotDirs } from '#core/snapshots/storage/snapshot-dirs.ts'
import type { CreateOptions, Snapshot, StoredSnapshot } from '#core/snapshots/storage/storage.ts'
import { diskUsage } from '#lib/fs/disk-usage.ts'
import { syncFileSystem } from '#sys/file.ts'
import { tryLock } from '#sys/flock.ts'
import { spreadDirectories } from '#sys/inode-flags.ts'

import { WorkerRemover } from './remover.ts'
import { mappedRoot, mappingOptions, type Owner } from '#core/snapshots/id-mapping.ts'
import { snapshotMounts, upperDir, workDir } from './mounts.ts'
import { overlayOptions } from './probe.ts'

/** How a snapshotter behaves. */
export interface OverlayOptions {
  /** Leave directories of removed snapshots to `cleanup`. */
  readonly asyncRemove: boolean
  /** Show each snapshot's upper directory as a label. */
  readonly upperdirLabel: boolean
  /** Mounts can have the files below belong to the users of a container. */
  readonly remapIds?: boolean
  /** Added to overlay mounts, with what the kernel needs; bind mounts do not get them. */
  readonly mountOptions: readonly string[]
}

const upperdirKey = 'containerd.io/snapshot/overlay.upperdir'

/**
 * Snapshots by overlayfs: each keeps what it changes, and mounts put the layers on one another.
 *
 *     snapshots/<id>/fs        what the snapshot has, or changes of its parent
 *     snapshots/<id>/work      overlayfs's scratch space; of active snapshots only
 */
export class OverlaySnapshotter extends RecordedSnapshotter {
  protected override readonly noMount = 'failed to get active mount'
  readonly #dirs: SnapshotDirs
  readonly #remover: WorkerRemover
  readonly #options: OverlayOptions

  private constructor(
    store: MetaStore,
    dirs: SnapshotDirs,
    remover: WorkerRemover,
    options: OverlayOptions,
  ) {
    super(store)
    this.#dirs = dirs
    this.#remover = remover
    this.#options = options
  }

  /** Opens the snapshots in `root`, which is made when it is missing. */
  static async open(
    ctx: Context,
    root: string,
    options: OverlayOptions,
  ): Promise<OverlaySnapshotter> {
    const remover = new WorkerRemover()
    const dirs = new SnapshotDirs(root, remover)
    spreadDirectories(dirs.path)
    const mountOptions = overlayOptions(root, options.mountOptions)
    const store = await openStore(ctx, root, tryLock)
    return new OverlaySnapshotter(store, dirs, remover, { ...options, mountOptions })
  }

  async usage(ctx: Context, key: string): Promise<Usage> {
    ctx.signal.throwIfAborted()
    const { id, info, usage } = this.store.info(key)
    return info.kind === 'active' ? await diskUsage(this.#upper(id), ctx) : usage
  }

  async commit(
    ctx: Context,
    name: string,
    key: string,
    options: SnapshotOptions = {},
  ): Promise<void> {
    ctx.signal.throwIfAborted()
    const measure = async (id: string): Promise<Usage> => {
      const upper = this.#upper(id)
      const { parent = '', settle } = options
      if (settle) await settle(this.store.chain(parent).map((each) => this.#upper(each)))
      // Whoever has filled it need not have flushed it, and nobody looks at its files again.
      const [usage] = await Promise.all([diskUsage(upper, ctx), syncFileSystem(upper)])
      return usage
    }
    await this.store.commit(ctx, { name, key }, options, measure)
  }

  async remove(ctx: Context, key: string): Promise<void> {
    await this.store.remove(ctx, key)
    if (!this.#options.asyncRemove) await this.cleanup(ctx)
  }

  async cleanup(ctx: Context): Promise<void> {
    await this.#dirs.cleanup(ctx, this.store)
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.#remover[Symbol.asyncDispose]()
    await super[Symbol.asyncDispose]()
  }

  protected override async create(ctx: Context, options: CreateOptions): Promise<readonly Mount[]> {
    ctx.signal.throwIfAborted()
    const mapped = mappedRoot(options.labels ?? {})
    const reserved = this.store.reserve(options)
    const { id, parentId } = reserved
    const owner = await this.#rootOwner(mapped, parentId)
    await using dir = await this.#dirs.make(ctx, String(id), async (path) => {
      await fill(path, options.kind, owner)
    })
    const snapshot = await this.store.create(ctx, options, reserved)
    dir.keep()
    return this.mountsOf(snapshot)
  }

  /**
   * Who owns the root of a new snapshot: who is to write to it, or else as below.
   *
   * Without a parent it is mounted by itself and mapped as a whole, so root of the container is who
   * root is on disk. (Upstream has its root belong to who root is outside, which no user of the
   * container is, nor may write to.)
   */
  async #rootOwner(
    mapped: Owner | undefined,
    parentId: string | undefined,
  ): Promise<Owner | undefined> {
    if (mapped && !(this.#options.remapIds && parentId === undefined)) return mapped
    return parentId === undefined ? undefined : await stat(this.#upper(parentId))
  }

  protected override mountsOf(snapshot: Snapshot): readonly Mount[] {
    const { mountOptions, remapIds } = this.#options
    return snapshotMounts({
      snapshot,
      dirOf: (id) => this.#dirs.of(id),
      options: mountOptions,
      mapping: remapIds ? mappingOptions(snapshot.info.labels) : [],
    })
  }

  protected override shown({ id, info }: StoredSnapshot): Info {
    if (!this.#options.upperdirLabel) return info
    return { ...info, labels: { ...info.labels, [upperdirKey]: this.#upper(id) } }
  }

  #upper(id: string): string {
    return upperDir(this.#dirs.of(id))
  }
}

/** Makes what belongs into the directory of a new snapshot. */
async function fill(path: string, kind: Kind, owner: Owner | undefined): Promise<void> {
  await makeDir(path, 0o700)
  await makeDir(upperDir(path), 0o755)
  if (kind === 'active') await makeDir(workDir(path), 0o711)
  if (owner) await lchown(upperDir(path), owner.uid, owner.gid)
}

/** Makes a directory with exactly this mode, whatever the umask. */
async function makeDir(path: string, mode: number): Promise<void> {
  await mkdir(path)
  await chmod(path, mode)
}
