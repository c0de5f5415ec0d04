import { closeSync } from 'node:fs'

import { checked, cString, systemCall } from './libc.ts'
import { MountFlag } from './mount-flags.ts'

/** What `mountNewApi` mounts. */
export interface LongMount {
  readonly type: string
  readonly source: string
  readonly target: string
  /** Bits of `MountFlag`: only those of one mount (ro, nosuid, …) and `ro` of the file system. */
  readonly flags: number
  readonly data: readonly string[]
}

type Text = string | Uint8Array | null

const fsopen: (...args: [Text, number]) => number = systemCall(430, [
  'const char *',
  'unsigned int',
])
const fsconfig: (...args: [number, number, Text, Text, number]) => number = systemCall(431, [
  'int',
  'unsigned int',
  'const char *',
  'const char *',
  'int',
])
const fsmount: (...args: [number, number, number]) => number = systemCall(432, [
  'int',
  'unsigned int',
  'unsigned int',
])
const moveMount: (...args: [number, Text, number, Text, number]) => number = systemCall(429, [
  'int',
  'const char *',
  'int',
  'const char *',
  'unsigned int',
])

const CLOEXEC = 1
const SET_FLAG = 0
const SET_STRING = 1
const CREATE = 6
const MOVE_MOUNT_F_EMPTY_PATH = 4
const AT_FDCWD = -100

/**
 * Mounts with options too long for mount(2), which takes one page of them: one fsconfig(2) for each
 * option, and for overlay one for each lower directory (`lowerdir+`, Linux 6.5). The kernel bounds
 * each value to 255 bytes, not their sum.
 *
 * @throws {SystemError}
 */
export function mountNewApi(spec: LongMount): void {
  const context = checked(fsopen(cString(spec.type), CLOEXEC), 'fsopen', { path: spec.type })
  try {
    configure(context, spec)
    const attributes = mountAttributes(spec.flags)
    const made = checked(fsmount(context, CLOEXEC, attributes), 'fsmount', { path: spec.target })
    try {
      const moved = moveMount(made, '', AT_FDCWD, cString(spec.target), MOVE_MOUNT_F_EMPTY_PATH)
      checked(moved, 'move_mount', { path: spec.target })
    } finally {
      closeSync(made)
    }
  } finally {
    closeSync(context)
  }
}

function configure(context: number, spec: LongMount): void {
  const set = (command: number, key: Text, value: Text, what: string): void => {
    checked(fsconfig(context, command, key, value, 0), 'fsconfig', { path: what })
  }
  set(SET_STRING, 'source', cString(spec.source || spec.type), 'source')
  if (spec.flags & MountFlag.readonly) set(SET_FLAG, 'ro', null, 'ro')
  for (const [key, value] of spec.data.flatMap(splitOption)) {
    if (value === undefined) set(SET_FLAG, cString(key), null, key)
    else set(SET_STRING, cString(key), cString(value), value)
  }
  set(CREATE, null, null, spec.target)
}

type Option = readonly [key: string, value: string | undefined]

function splitOption(option: string): readonly Option[] {
  const equals = option.indexOf('=')
  if (equals < 0) return [[option, undefined]]
  const key = option.slice(0, equals)
  const value = option.slice(equals + 1)
  if (key !== 'lowerdir') return [[key, value]]
  return splitLowerDirs(value).map((dir): Option => ['lowerdir+', dir])
}

/** Overlay separates directories by `:` and escapes with a backslash; single values are unescaped. */
function splitLowerDirs(value: string): readonly string[] {
  const dirs = value.match(/(?:\\.|[^:\\])+/gs) ?? []
  return dirs.map((dir) => dir.replace(/\\(.)/gs, '$1'))
}

/** MOUNT_ATTR_* of mount_setattr(2); the low bits are those of mount(2). */
function mountAttributes(flags: number): number {
  const { readonly, noSuid, noDev, noExec } = MountFlag
  let attributes = flags & (readonly | noSuid | noDev | noExec)
  if (flags & MountFlag.noAtime) attributes |= 0x10
  if (flags & MountFlag.strictAtime) attributes |= 0x20
  if (flags & MountFlag.noDirAtime) attributes |= 0x80
  return attributes
}
