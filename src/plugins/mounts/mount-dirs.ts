import { randomInt } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'

import { type Context, forCleanup } from '#core/context.ts'
import { describe } from '#lib/errors/errors.ts'

import { clearMounts } from './mount-dir.ts'
import type { Handlers } from './plan.ts'

/** A directory for mounts without a record. Disposing it undoes them. */
export interface HeldDir extends AsyncDisposable {
  /** Not made yet. */
  readonly path: string
}

export interface MountDirsOptions {
  readonly targets: string
  readonly handlers: Handlers
  /** How long a mount that is in use is waited for, in ms. */
  readonly busyMs: number
}

/**
 * The directories that mounts are in, below one: `<id>` of the activation with that id, or a number that
 * no activation will have.
 */
export class MountDirs {
  readonly #options: MountDirsOptions
  readonly #held = new Set<string>()

  constructor(options: MountDirsOptions) {
    this.#options = options
  }

  of(name: string): string {
    return join(this.#options.targets, name)
  }

  /** The names of those that are there and are not held. */
  async list(): Promise<readonly string[]> {
    const names = await readdir(this.#options.targets)
    return names.filter((name) => /^\d+$/.test(name) && !this.#held.has(name))
  }

  /** Undoes the mounts of one. @throws as `clearMounts`. */
  async clear(
    ctx: Context,
    name: string,
    { patient }: { readonly patient: boolean },
  ): Promise<void> {
    const { handlers, busyMs } = this.#options
    await clearMounts(ctx, this.of(name), { handlers, busyMs: patient ? busyMs : 0 })
  }

  /** Undoes the mounts of `names`; one that cannot be is logged and left. */
  async discard(ctx: Context, names: readonly string[]): Promise<void> {
    for (const name of names) {
      try {
        await this.clear(ctx, name, { patient: false })
      } catch (err) {
        ctx.signal.throwIfAborted()
        ctx.log.warn('cannot clean up mounts', { path: this.of(name), error: describe(err) })
      }
    }
  }

  /** A new one, which is no garbage although it has no record. */
  hold(ctx: Context): HeldDir {
    // A number, so that containerd's collector removes it too, and one above all that are ever counted to.
    const name = String(2n ** 63n + BigInt(randomInt(2 ** 47)))
    this.#held.add(name)
    return { path: this.of(name), [Symbol.asyncDispose]: async () => await this.#letGo(ctx, name) }
  }

  async #letGo(ctx: Context, name: string): Promise<void> {
    try {
      await this.clear(forCleanup(ctx), name, { patient: true })
    } catch (err) {
      // The next collection tries again.
      ctx.log.warn('failed to undo temporary mounts', { error: describe(err) })
    } finally {
      this.#held.delete(name)
    }
  }
}
