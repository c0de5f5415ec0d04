import { closeSync, openSync, statSync } from 'node:fs'

import { isErrno } from './errno.ts'
import { unmount, type UnmountOptions } from './mount-call.ts'
import { parseMountOptions } from './mount-flags.ts'
import { mountInfo } from './mount-info.ts'
import { mountMapped } from './mount-mapped.ts'
import { mountOne, type MountSpec } from './mount-one.ts'
import { resolveInRoot } from './resolve.ts'

export { mount, unmount } from './mount-call.ts'

/** A mount as containerd describes it: options in the form of fstab. */
export interface Mount extends MountSpec {
  /** Where below the place of all mounts this one goes; empty for the place itself. */
  readonly target?: string | undefined
  readonly options: readonly string[]
}

const O_PATH = 0o10000000

/**
 * Mounts `mounts` in order at `target`, each at its own `target` below that. When one fails those
 * before it stay: the caller undoes with `unmountRecursive`.
 *
 * @throws {SystemError}; `invalid_argument` for options that make no sense.
 */
export function mountAll(mounts: readonly Mount[], target: string): void {
  for (const each of mounts) {
    const place = each.target ? resolveInRoot(target, each.target) : target
    const options = parseMountOptions(each.options)
    const mapped = options.uidMap !== '' || options.gidMap !== ''
    if (mapped) mountMapped(each, options, place)
    else mountOne(each, options, place)
  }
}

/** Unmounts what is stacked at `target` until nothing is; no target at all is fine. @throws {SystemError} */
export function unmountAll(target: string, options?: UnmountOptions): void {
  if (target === '' || statSync(target, { throwIfNoEntry: false }) === undefined) return
  for (;;) {
    try {
      unmount(target, options)
    } catch (err) {
      if (isErrno(err, 'EINVAL')) return
      throw err
    }
  }
}

/** Unmounts everything at and below `prefix`, the deepest first. @throws {SystemError} of the first that fails. */
export function unmountRecursive(prefix: string, options?: UnmountOptions): void {
  for (const point of mountPoints(prefix)) unmountAll(point, options)
}

/**
 * Takes everything at and below `prefix` out of sight, the deepest first, and keeps it alive. Each
 * of the descriptors is to be closed, where it may take time: the last use of an overlay ends with
 * all that was written below it on the disk.
 *
 * @throws {SystemError} of the first that fails; what was kept until then is let go.
 */
export function detachRecursive(prefix: string): readonly number[] {
  const kept: number[] = []
  try {
    for (const point of mountPoints(prefix)) {
      do kept.push(openSync(point, O_PATH))
      while (detach(point))
      // The last one is what lies below all mounts.
      closeSync(kept.pop() ?? -1)
    }
    return kept
  } catch (err) {
    for (const fd of kept) closeSync(fd)
    throw err
  }
}

/** @returns whether something was mounted there. */
function detach(target: string): boolean {
  try {
    unmount(target, { detach: true })
    return true
  } catch (err) {
    if (isErrno(err, 'EINVAL')) return false
    throw err
  }
}

/** Where something is mounted, at and below `prefix`, the deepest first. */
function mountPoints(prefix: string): readonly string[] {
  const below = prefix.endsWith('/') ? prefix : `${prefix}/`
  const points = mountInfo()
    .map(({ mountPoint }) => mountPoint)
    .filter((point) => point === prefix || point.startsWith(below))
  return [...new Set(points)].toSorted((a, b) => b.length - a.length)
}
