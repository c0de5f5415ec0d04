import { existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { SnapshotOptions, Usage } from '#core/snapshots/snapshotter.ts'
import { mappedRoot, mappingOptions, type Owner } from '#core/snapshots/id-mapping.ts'
import type { MetaStore } from '#core/snapshots/storage/meta-store.ts'
import { openStore } from '#core/snapshots/storage/open-store.ts'
import { RecordedSnapshotter } from '#core/snapshots/storage/recorded-snapshotter.ts'
import { SnapshotDirs } from '#core/snapshots/storage/snapshot-dirs.ts'
import type { CreateOptions, Snapshot } from '#core/snapshots/storage/storage.ts'
import { KeyedMutex } from '#lib/async/keyed-mutex.ts'
import { alreadyExists, describe, failedPrecondition } from '#lib/errors/errors.ts'
import { diskUsage } from '#lib/fs/disk-usage.ts'
import { tryLock } from '#sys/flock.ts'
import { unmountRecursive } from '#sys/mount.ts'

import { SnapshotFiles, type VerityMode } from './files.ts'
import { requireVerity } from './fs-verity.ts'
import { dropImage, dropSources, makeImage, markImmutable } from './image.ts'
import { snapshotMounts } from './mounts.ts'
import { fillDirectory } from './new-snapshot.ts'

/** How a snapshotter behaves. */
export interface ErofsOptions {
  /** Added to overlay mounts. */
  readonly overlayOptions: readonly string[]
  /** Keep images from being changed or removed by anybody but the snapshotter. */
  readonly immutable: boolean
  /** Size of the file that takes what is written to a snapshot, in bytes; 0 for a directory instead. */
  readonly writableBytes: number
  readonly verity: VerityMode
  /** Have mounts give the files of the layers to the users that labels map those of a container to. */
  readonly remapIds: boolean
  /** Have the kernel refuse to read an image that is not what it was. */
  readonly fsVerity?: boolean
  /** Directories of images that are used instead of unpacking layers; see `./cache.ts`. */
  readonly caches?: readonly string[]
}

const maxSizeLabel = 'containerd.io/snapshot/max-size'

/** Snapshots as erofs images: a commit turns what was written into one. See `./files.ts` for the files. */
export class ErofsSnapshotter extends RecordedSnapshotter {
  protected override readonly noMount = 'failed to get active mount'
  readonly #dirs: SnapshotDirs
  readonly #files: SnapshotFiles
  readonly #options: ErofsOptions
  /** By key: images that are being made. */
  readonly #committing = new KeyedMutex()
  /** Whether what killed commits have left has been looked for. */
  #tidied = false

  private constructor(store: MetaStore, dirs: SnapshotDirs, options: ErofsOptions) {
    super(store)
    this.#dirs = dirs
    this.#files = new SnapshotFiles((id) => dirs.of(id), options.verity)
    this.#options = options
  }

  /**
   * Opens the snapshots in `root`, which is made when it is missing.
   *
   * @throws `failed_precondition` for fs-verity where the file system has none.
   */
  static async open(ctx: Context, root: string, options: ErofsOptions): Promise<ErofsSnapshotter> {
    const dirs = new SnapshotDirs(root)
    if (options.fsVerity) await requireVerity(root)
    const store = await openStore(ctx, root, tryLock)
    // Of a daemon that was killed while it read a file of what was written.
    unmountRecursive(join(root, 'snapshots'), { detach: true })
    return new ErofsSnapshotter(store, dirs, options)
  }

  async usage(ctx: Context, key: string): Promise<Usage> {
    ctx.signal.throwIfAborted()
    const { id, info, usage } = this.store.info(key)
    if (info.kind !== 'active') return usage
    const used = await diskUsage(this.#files.upper(id), ctx)
    const file = this.#files.writable(id)
    if (!existsSync(file)) return used
    const inFile = await diskUsage(file, ctx)
    return { inodes: used.inodes + inFile.inodes, size: used.size + inFile.size }
  }

  async commit(
    ctx: Context,
    name: string,
    key: string,
    options: SnapshotOptions = {},
  ): Promise<void> {
    ctx.signal.throwIfAborted()
    using _alone = await this.#committing.lock(key, ctx)
    const made: string[] = []
    try {
      await this.store.commit(ctx, { name, key }, options, async (id) => {
        this.#checkCommit(name, key)
        made.push(id)
        await makeImage(ctx, this.#files, id, this.#options.fsVerity ?? false)
        return await diskUsage(this.#files.layer(id), ctx)
      })
    } catch (err) {
      for (const id of made) await dropImage(this.#files, id)
      throw err
    }
    const id = made.at(-1)
    if (id === undefined) return
    await this.#tidy(ctx, id)
    this.#protect(ctx, id, true)
  }

  async remove(ctx: Context, key: string): Promise<void> {
    const { id, info } = this.store.info(key)
    ctx.signal.throwIfAborted()
    if (info.kind === 'committed') this.#protect(ctx, id, false)
    await this.store.remove(ctx, key)
    const garbage = await this.#dirs.retire(id)
    if (garbage !== undefined) await this.#dirs.remove(ctx, [garbage])
  }

  async cleanup(ctx: Context): Promise<void> {
    await this.#dirs.cleanup(ctx, this.store)
    if (this.#tidied) return
    this.#tidied = true
    const committed = [...this.store.list(['kind==committed'])]
    for (const { id } of committed) await this.#tidy(ctx, id)
  }

  protected override async create(ctx: Context, options: CreateOptions): Promise<readonly Mount[]> {
    ctx.signal.throwIfAborted()
    const mapped = mappedRoot(options.labels ?? {})
    const reserved = this.store.reserve(options)
    const { id, parentId } = reserved
    const owner = mapped ?? (await this.#rootOwner(parentId))
    await using dir = await this.#dirs.make(ctx, String(id), async (path) => {
      await fillDirectory(path, options, { ...this.#options, owner })
    })
    const snapshot = await this.store.create(ctx, options, reserved)
    dir.keep()
    return this.mountsOf(snapshot)
  }

  async #rootOwner(parentId: string | undefined): Promise<Owner | undefined> {
    return parentId === undefined ? undefined : await stat(this.#files.upper(parentId))
  }

  /** Before an image is made, which may take long and must not touch one that is in use. */
  #checkCommit(name: string, key: string): void {
    const words = `failed to commit snapshot ${key}`
    if (this.store.info(key).info.kind !== 'active') {
      const cause = failedPrecondition(`snapshot ${JSON.stringify(key)} is not active`)
      throw new Error(words, { cause })
    }
    if (this.store.has(name)) {
      throw new Error(words, { cause: alreadyExists(`committed snapshot ${name}`) })
    }
  }

  protected override mountsOf(snapshot: Snapshot): readonly Mount[] {
    const { overlayOptions, writableBytes, remapIds } = this.#options
    const asked = Number(snapshot.info.labels[maxSizeLabel])
    const own = writableBytes > 0 && Number.isSafeInteger(asked) && asked > 0
    return snapshotMounts({
      snapshot,
      files: this.#files,
      overlayOptions,
      mapping: remapIds ? mappingOptions(snapshot.info.labels) : [],
      writableBytes: own ? asked : writableBytes,
    })
  }

  #protect(ctx: Context, id: string, on: boolean): void {
    if (on && !this.#options.immutable) return
    try {
      markImmutable(this.#files.layer(id), on)
    } catch (err) {
      if (on) ctx.log.warn('failed to set IMMUTABLE_FL', { id, error: describe(err) })
    }
  }

  /** What cannot be removed now is found when the snapshotter is opened again. */
  async #tidy(ctx: Context, id: string): Promise<void> {
    try {
      await dropSources(ctx, this.#files, id)
    } catch (err) {
      if (!ctx.signal.aborted) {
        ctx.log.warn('failed to remove what an image was made from', { id, error: describe(err) })
      }
    }
  }
}
