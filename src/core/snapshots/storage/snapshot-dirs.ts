import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import { removeTree } from '#lib/fs/remove-tree.ts'

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

  /** Makes the directories of `root` that are missing. */
  constructor(root: string) {
    this.#dir = join(root, 'snapshots')
    fs.mkdirSync(root, { recursive: true, mode: 0o700 })
    fs.mkdirSync(this.#dir, { recursive: true, mode: 0o700 })
  }

  /** The directory of a snapshot. */
  of(id: string): string {
    return join(this.#dir, id)
  }

  /** Makes an empty directory, safe from `cleanup` until it is placed or what comes with it disposed. */
  make(mode = 0o700): Disposable & { readonly path: string } {
    const name = `new-${suffix()}`
    const path = join(this.#dir, name)
    this.#making.add(name)
    fs.mkdirSync(path, { mode })
    return { path, [Symbol.dispose]: () => void this.#making.delete(name) }
  }

  /** Makes `path` the directory of the snapshot `id`. What a failed commit has left there gives way. */
  place(path: string, id: string): void {
    const target = this.of(id)
    if (fs.existsSync(target)) this.retire(id)
    fs.renameSync(path, target)
  }

  /** Takes the directory of `id` away, to be removed: its path, or undefined when there is none. */
  retire(id: string): string | undefined {
    const path = join(this.#dir, `rm-${id}-${suffix()}`)
    try {
      fs.renameSync(this.of(id), path)
      return path
    } catch (err) {
      if (fs.existsSync(this.of(id))) throw err
      return undefined
    }
  }

  /** What is garbage when the snapshots in `used` are all there are. */
  garbage(used: ReadonlySet<string>): readonly string[] {
    return fs
      .readdirSync(this.#dir)
      .filter((name) => !used.has(name) && !this.#making.has(name))
      .map((name) => join(this.#dir, name))
  }

  /** Removes directories; one that can't be is logged and left to the next `cleanup`. */
  async remove(ctx: Context, paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      try {
        await removeTree(path, ctx)
      } catch (error) {
        ctx.signal.throwIfAborted()
        ctx.log.warn('failed to remove directory', { path, error })
      }
    }
  }
}

const suffix = (): string => randomBytes(6).toString('hex')
