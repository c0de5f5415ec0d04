import { mkdir } from 'node:fs/promises'

import { type Context, forCleanup } from '#core/context.ts'
import type { ActiveMount } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import { describe } from '#lib/errors/errors.ts'

import { clearMounts, makeMount, pointNames } from './mount-dir.ts'
import type { Handlers, Plan } from './plan.ts'
import { transform } from './transform/transform.ts'

/** What mounts are made with. */
export interface Tools {
  readonly handlers: Handlers
  /** Directories below which transformers may make things. */
  readonly roots: readonly string[]
  /** How long a mount that is in use is waited for, in ms. */
  readonly busyMs: number
}

/** Mounts that were made, and those that are left. */
export interface Performed {
  readonly active: readonly ActiveMount[]
  readonly system: readonly Mount[]
}

/** Makes the mounts of `plan` in `dir`, which must not exist. When it fails nothing stays. */
export async function perform(
  ctx: Context,
  plan: Plan,
  dir: string,
  tools: Tools,
): Promise<Performed> {
  const { handlers, roots, busyMs } = tools
  await mkdir(dir, { mode: 0o700 })
  const before: ActiveMount[] = []
  try {
    const names = pointNames(plan.active.length)
    for (const [at, mount] of plan.active.entries()) {
      ctx.signal.throwIfAborted()
      const ready = await transform(ctx, mount, { roots, before })
      const spec = { mount: ready, dir, name: names[at] ?? '' }
      before.push(await makeMount(ctx, spec, { handlers, before, busyMs }))
    }
    const [next, ...others] = plan.system
    const first = next ? [await transform(ctx, next, { roots, before })] : []
    const bound = plan.bound ? bindOf(before) : []
    return { active: before, system: [...first, ...others, ...bound] }
  } catch (err) {
    await undo(ctx, dir, tools)
    throw err
  }
}

/** A bind mount of the last of `active`, which is what all of them are for. */
export function bindOf(active: readonly ActiveMount[]): readonly Mount[] {
  const source = active.at(-1)?.mountPoint
  return source === undefined ? [] : [{ type: 'bind', source, options: ['rbind'] }]
}

/** What cannot be undone now is found without a record by the next collection. */
async function undo(ctx: Context, dir: string, { handlers, busyMs }: Tools): Promise<void> {
  try {
    await clearMounts(forCleanup(ctx), dir, { handlers, busyMs })
  } catch (err) {
    ctx.log.error('failed to clean up after a failed activation', { dir, error: describe(err) })
  }
}
