import { closeSync, openSync } from 'node:fs'

import { isErrno } from './errno.ts'
import { attachLoop } from './loop.ts'
import { mount } from './mount-call.ts'
import { MountFlag, type ParsedOptions, propagationFlags } from './mount-flags.ts'
import { type LongMount, mountNewApi } from './mount-new-api.ts'
import { makeReadOnly } from './mount-tree.ts'
import { beside, joinOverlayOptions, splitOverlayOptions } from './overlay-options.ts'

/** What is mounted. */
export interface MountSpec {
  readonly type: string
  readonly source: string
}

/** The kernel copies one page of mount data, its end included. */
const maxData = 4095
const O_PATH = 0o10000000

/** Mounts one thing; owners are as they are. @throws {SystemError} */
export function mountOne(spec: MountSpec, options: ParsedOptions, target: string): void {
  const { flags, data, loop, directIo } = options
  const plain = flags & ~propagationFlags
  if (!(flags & MountFlag.remount) || data.length > 0) {
    // The mount keeps the device; the descriptor keeps it until then.
    using device = loop
      ? attachLoop(spec.source, { readOnly: (plain & MountFlag.readonly) !== 0, directIo })
      : undefined
    const source = device?.path ?? spec.source
    mountLong({ type: spec.type, source, target, flags: plain, data })
  }
  if (flags & propagationFlags) {
    mount({ target, flags: flags & (propagationFlags | MountFlag.recursive) })
  }
  // A bind mount takes the flags of its source; only a remount makes it read-only.
  if (plain & MountFlag.bind && plain & MountFlag.readonly) {
    remountReadOnly(target, plain)
  }
}

/** In a user namespace a mount must keep the attributes that were not given to it there (`nosuid`). */
function remountReadOnly(target: string, flags: number): void {
  try {
    mount({ target, flags: flags | MountFlag.remount })
  } catch (err) {
    if (!isErrno(err, 'EPERM')) throw err
    makeReadOnly(target)
  }
}

function mountLong(spec: LongMount): void {
  if (mountShort(spec)) return
  try {
    mountNewApi(spec)
  } catch (err) {
    // Kernels before 6.5 take no list of directories one by one.
    if (!isErrno(err, 'EINVAL', 'ENOSYS') || !mountCompact(spec)) throw err
  }
}

function mountShort(spec: LongMount): boolean {
  const text = spec.data.join(',')
  if (Buffer.byteLength(text) > maxData) return false
  mount({ ...spec, data: text })
  return true
}

/**
 * Mounts an overlay whose options fit into a page once the directories below it go by the
 * descriptor of what holds them all; some 170 do. (A change of the working directory makes shorter
 * names still, but all threads share it.)
 *
 * @returns whether they fit. @throws {SystemError}
 */
export function mountCompact(spec: LongMount): boolean {
  const { lower, others } = splitOverlayOptions(spec.data)
  if (lower.length === 0) return false
  const { common, names } = beside(lower)
  const fd = openSync(common, O_PATH)
  try {
    const short = names.map((name) => `/proc/self/fd/${fd}/${name}`)
    return mountShort({ ...spec, data: joinOverlayOptions({ lower: short, others }) })
  } finally {
    closeSync(fd)
  }
}
