import { closeSync, openSync, statSync } from 'node:fs'

import { unimplemented } from '#lib/errors/errors.ts'

import { isErrno } from './errno.ts'
import { checked, cString, native } from './libc.ts'
import { attachLoop } from './loop.ts'
import { MountFlag, parseMountOptions, propagationFlags } from './mount-flags.ts'
import { mountInfo } from './mount-info.ts'
import { type LongMount, mountNewApi } from './mount-new-api.ts'
import { resolveInRoot } from './resolve.ts'

/** A mount as containerd describes it: options in the form of fstab. */
export interface Mount {
  readonly type: string
  readonly source: string
  /** Where below the place of all mounts this one goes; empty for the place itself. */
  readonly target?: string | undefined
  readonly options: readonly string[]
}

/** The arguments of mount(2). */
export interface MountArguments {
  readonly source?: string
  readonly target: string
  readonly type?: string
  /** Bits of `MountFlag`. */
  readonly flags?: number
  readonly data?: string
}

export interface UnmountOptions {
  /** Take it out of sight now, and let it go when its last user does. */
  readonly detach?: boolean
  /** Refuse to follow a symbolic link at the target. */
  readonly noFollow?: boolean
}

type Text = string | Uint8Array | null

const cMount: (...args: [Text, Text, Text, number, Text]) => number = native(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
)
const cUmount2: (...args: [Text, number]) => number = native(
  'int umount2(const char *target, int flags)',
)

const MNT_DETACH = 2
const UMOUNT_NOFOLLOW = 8
const O_PATH = 0o10000000

/** The kernel copies one page of mount data, its end included. */
const maxData = 4095

/** mount(2). @throws {SystemError} */
export function mount(args: MountArguments): void {
  const { source = '', target, type = '', flags = 0, data = '' } = args
  const result = cMount(cString(source), cString(target), cString(type), flags, cString(data))
  checked(result, 'mount', { path: source === '' ? target : source, dest: target })
}

/** umount2(2). @throws {SystemError} `EINVAL` when nothing is mounted there. */
export function unmount(target: string, options: UnmountOptions = {}): void {
  const flags = (options.detach ? MNT_DETACH : 0) | (options.noFollow ? UMOUNT_NOFOLLOW : 0)
  checked(cUmount2(cString(target), flags), 'umount2', { path: target })
}

/**
 * Mounts `mounts` in order at `target`, each at its own `target` below that. When one fails those
 * before it stay: the caller undoes with `unmountRecursive`.
 *
 * @throws {SystemError}
 */
export function mountAll(mounts: readonly Mount[], target: string): void {
  for (const each of mounts)
    mountOne(each, each.target ? resolveInRoot(target, each.target) : target)
}

function mountOne(spec: Mount, target: string): void {
  const { flags, data, loop, directIo, uidMap } = parseMountOptions(spec.options)
  if (uidMap) throw unimplemented('mount option "uidmap"')

  const plain = flags & ~propagationFlags
  if (!(flags & MountFlag.remount) || data.length > 0) {
    // The mount keeps the device; the descriptor keeps it until then.
    using device = loop
      ? attachLoop(spec.source, { readOnly: (plain & MountFlag.readonly) !== 0, directIo })
      : undefined
    mountWith({ ...spec, source: device?.path ?? spec.source, target, flags: plain, data })
  }
  if (flags & propagationFlags) {
    mount({ target, flags: flags & (propagationFlags | MountFlag.recursive) })
  }
  // A bind mount takes the flags of its source; only a remount makes it read-only.
  if (plain & MountFlag.bind && plain & MountFlag.readonly) {
    mount({ target, flags: plain | MountFlag.remount })
  }
}

function mountWith(spec: LongMount): void {
  const text = spec.data.join(',')
  if (Buffer.byteLength(text) > maxData) mountNewApi(spec)
  else mount({ ...spec, data: text })
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
