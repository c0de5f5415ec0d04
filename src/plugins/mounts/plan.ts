import type { ActivateOptions, MountHandler } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'

import { parseType } from './transform/transform.ts'

/** What makes mounts of which type. */
export type Handlers = ReadonlyMap<string, MountHandler>

/** How a list of mounts is shared out. */
export interface Plan {
  /** Mounted by the manager, in order. */
  readonly active: readonly Mount[]
  /** Left to the caller; the first may need to be transformed. */
  readonly system: readonly Mount[]
  /** Whether the caller gets a bind mount of the last one. */
  readonly bound: boolean
}

/**
 * Who makes which of `mounts`; undefined when the manager has nothing to do.
 *
 * The manager makes all those that come before the last one it must transform, and up to the last one
 * that has a handler. Source: upstream `core/mount/manager/manager.go`.
 */
export function planMounts(
  mounts: readonly Mount[],
  handlers: Handlers,
  { allow = [], temporary = false }: ActivateOptions,
): Plan | undefined {
  let count: number | undefined
  for (const [at, mount] of mounts.entries()) {
    const { transforms, type } = parseType(mount.type)
    const left = (prefix: string): boolean =>
      allow.includes(`${prefix}/*`) || allow.includes(mount.type)
    if (transforms.some((prefix) => !left(prefix))) count = at
    if (temporary || (handlers.has(type) && !allow.includes(type))) count = at + 1
  }
  if (count === undefined) return undefined
  return { active: mounts.slice(0, count), system: mounts.slice(count), bound: temporary }
}
