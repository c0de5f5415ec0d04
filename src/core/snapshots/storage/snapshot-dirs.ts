import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import { fullDisk } from '#lib/fs/full-disk.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'
import { removeTree } from '#lib/fs/remove-tree.ts'

import type { MetaStore } from './meta-store.ts'

/** The directory of a snapshot that is being made. Disposing it gives it back, unless it is kept. */
export interface NewDir extends AsyncDisposable {
  /** There is a record of it now. */
  keep(): void
}

/** Directories removed at once. */
const width = 4
/** So many names are removed at once, as a container's own; where there are more of them, a thread is worth its start. */
const fewNames = 16

/** Removes whole trees on a thread of its own. */
export interface TreeRemover {
  /** Removes `path` with all below it; nothing happens when it is missing. @throws {SystemError} */
  remove(path: string, signal: AbortSignal): Promise<void>
}

/**
 * The directories of a snapshotter's snapshots.
 *
 *     <root>/metadata.db
 *     <root>/snapshots/<id>/     of the snapshot with that id
 *     <root>/snapshots/new-*     being made
 *     <root>/snapshots/rm-*      to be removed
 *
 * Whatever is in `snapshots` and has no record is garbage, but for what is being made right now.
 */
export class SnapshotDirs {
  readonly #dir: string
  readonly #making = new Set<string>()
  readonly #remover: TreeRemover | undefined

  /** Makes the directories of `root` that are missing. Without a remover this thread removes large trees too. */
  constructor(root: string, remover?: TreeRemover) {
    this.#remover = remover
    this.#dir = join(root, 'snapshots')
    mkdirSync(root, { recursive: true, mode: 0o700 })
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 })
  }

  /** What the directories of all snapshots are in. */
  get path(): string {
    return this.#dir
  }

  /** The directory of a snapshot. */
  of(id: string): string {
    return join(this.#dir, id)
  }

  /**
   * Makes the directory of the snapshot `id`, which has no record yet; or its file, where snapshots
   * are files. It appears under that name only when `fill` has made it, with all that belongs into it.
   */
  async make(ctx: Context, id: string, fill: (path: string) => Promise<void>): Promise<NewDir> {
    const name = `new-${suffix()}`
    const path = join(this.#dir, name)
    this.#making.add(name).add(id)
    let unwanted: readonly string[] = [path]
    await using undo = new AsyncDisposableStack()
    undo.defer(async () => {
      this.#making.delete(name)
      this.#making.delete(id)
      await this.remove(ctx, unwanted)
    })
    try {
      await fill(path)
      await this.#place(path, id)
    } catch (err) {
      ctx.signal.throwIfAborted()
      throw notMade(fullDisk(err, path))
    }
    unwanted = [this.of(id)]
    const held = undo.move()
    return {
      keep: () => void (unwanted = []),
      [Symbol.asyncDispose]: async () => await held.disposeAsync(),
    }
  }

  /** Takes the directory of `id` away, to be removed: its path, or undefined when there is none. */
  async retire(id: string): Promise<string | undefined> {
    const path = join(this.#dir, `rm-${id}-${suffix()}`)
    try {
      await rename(this.of(id), path)
      return path
    } catch (err) {
      if (hasErrno(err, 'ENOENT')) return undefined
      throw err
    }
  }

  /** Removes what no record of `store` speaks for. */
  async cleanup(ctx: Context, store: MetaStore): Promise<void> {
    // Listed first: whatever is listed and gets a record meanwhile has it by the time records are looked at.
    const names = await readdir(this.#dir)
    const garbage = await store.withUsedIds(ctx, (used) =>
      names.filter((name) => !used.has(name) && !this.#making.has(name)),
    )
    const paths = garbage.map((name) => join(this.#dir, name))
    await this.remove(ctx, paths)
  }

  /** Removes directories; one that can't be is logged and left to the next `cleanup`. */
  async remove(ctx: Context, paths: readonly string[]): Promise<void> {
    const next = paths.values()
    const worker = async (): Promise<void> => {
      for (const path of next) {
        if (ctx.signal.aborted) return
        await this.#removeOne(ctx, path).catch((error: unknown) => {
          if (!ctx.signal.aborted) ctx.log.warn('failed to remove directory', { path, error })
        })
      }
    }
    await Promise.all(Array.from({ length: width }, worker))
  }

  async #removeOne({ signal }: Context, path: string): Promise<void> {
    const gone = await removeTree(path, { signal, ...(this.#remover && { most: fewNames }) })
    if (!gone) await this.#remover?.remove(path, signal)
  }

  /** What a failed commit or a crash has left at that place gives way. */
  async #place(path: string, id: string): Promise<void> {
    try {
      await rename(path, this.of(id))
    } catch (err) {
      if (!hasErrno(err, 'ENOTEMPTY', 'EEXIST', 'ENOTDIR')) throw err
      await this.retire(id)
      await rename(path, this.of(id))
    }
  }
}

const notMade = (cause: unknown): Error =>
  new Error('failed to create prepare snapshot dir', { cause })

const suffix = (): string => randomBytes(6).toString('hex')
