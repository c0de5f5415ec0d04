import { closeSync, openSync } from 'node:fs'

import { checked, cString, systemCall } from './libc.ts'
import { MountFlag } from './mount-flags.ts'
import { attachTree } from './mount-tree.ts'
import { splitOverlayOptions, unescapeLower } from './overlay-options.ts'

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

const CLOEXEC = 1
const SET_FLAG = 0
const SET_STRING = 1
const CREATE = 6
const O_PATH = 0o10000000
/** The kernel takes so many bytes of one value. */
const maxValue = 255

/**
 * Mounts with options too long for mount(2), which takes one page of them: one fsconfig(2) for each
 * option, and for overlay one for each lower directory (`lowerdir+`, Linux 6.5). The kernel bounds
 * each value and not their sum: a directory with a longer name goes by that of its descriptor.
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
      attachTree(made, spec.target)
    } finally {
      closeSync(made)
    }
  } finally {
    closeSync(context)
  }
}

function configure(context: number, spec: LongMount): void {
  using opened = new DisposableStack()
  const short = (key: string, value: string): string => {
    if (Buffer.byteLength(value) <= maxValue || !directoryKeys.has(key)) return value
    const fd = openSync(value, O_PATH)
    opened.defer(() => closeSync(fd))
    return `/proc/self/fd/${fd}`
  }
  const set = (command: number, key: Text, value: Text, what: string): void => {
    checked(fsconfig(context, command, key, value, 0), 'fsconfig', { path: what })
  }
  set(SET_STRING, 'source', cString(spec.source || spec.type), 'source')
  if (spec.flags & MountFlag.readonly) set(SET_FLAG, 'ro', null, 'ro')
  for (const [key, value] of separateOptions(spec.data)) {
    if (value === undefined) set(SET_FLAG, cString(key), null, key)
    else set(SET_STRING, cString(key), cString(short(key, value)), value)
  }
  set(CREATE, null, null, spec.target)
}

const directoryKeys = new Set(['lowerdir+', 'upperdir', 'workdir'])

type Option = readonly [key: string, value: string | undefined]

function separateOptions(options: readonly string[]): readonly Option[] {
  const { lower, others } = splitOverlayOptions(options)
  const own = others.map((option): Option => {
    const equals = option.indexOf('=')
    return equals < 0 ? [option, undefined] : [option.slice(0, equals), option.slice(equals + 1)]
  })
  return [...own, ...lower.map((dir): Option => ['lowerdir+', unescapeLower(dir)])]
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
