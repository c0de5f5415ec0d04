/** Flags of mount(2): the same bits on every architecture. */
export const MountFlag = {
  readonly: 1,
  noSuid: 2,
  noDev: 4,
  noExec: 8,
  synchronous: 16,
  remount: 32,
  mandatoryLock: 64,
  dirSync: 128,
  noAtime: 1024,
  noDirAtime: 2048,
  bind: 4096,
  move: 8192,
  recursive: 16384,
  silent: 32768,
  unbindable: 1 << 17,
  private: 1 << 18,
  slave: 1 << 19,
  shared: 1 << 20,
  relAtime: 1 << 21,
  strictAtime: 1 << 24,
} as const

/** The bits that change how mounts propagate; they need a call of their own. */
export const propagationFlags: number =
  MountFlag.shared | MountFlag.private | MountFlag.slave | MountFlag.unbindable

/** Mount options, taken apart into what mount(2) wants. */
export interface ParsedOptions {
  readonly flags: number
  /** Options the file system itself understands, in order. */
  readonly data: readonly string[]
  /** The source is a file and wants a loop device. */
  readonly loop: boolean
  /** That device goes past the page cache. */
  readonly directIo: boolean
  readonly uidMap: string
  readonly gidMap: string
}

const { recursive } = MountFlag

const setting = new Map<string, number>([
  ['bind', MountFlag.bind],
  ['defaults', 0],
  ['dirsync', MountFlag.dirSync],
  ['mand', MountFlag.mandatoryLock],
  ['noatime', MountFlag.noAtime],
  ['nodev', MountFlag.noDev],
  ['nodiratime', MountFlag.noDirAtime],
  ['noexec', MountFlag.noExec],
  ['nosuid', MountFlag.noSuid],
  ['private', MountFlag.private],
  ['rbind', MountFlag.bind | recursive],
  ['relatime', MountFlag.relAtime],
  ['remount', MountFlag.remount],
  ['ro', MountFlag.readonly],
  ['rprivate', MountFlag.private | recursive],
  ['rshared', MountFlag.shared | recursive],
  ['rslave', MountFlag.slave | recursive],
  ['runbindable', MountFlag.unbindable | recursive],
  ['shared', MountFlag.shared],
  ['slave', MountFlag.slave],
  ['strictatime', MountFlag.strictAtime],
  ['sync', MountFlag.synchronous],
  ['unbindable', MountFlag.unbindable],
])

const clearing = new Map<string, number>([
  ['async', MountFlag.synchronous],
  ['atime', MountFlag.noAtime],
  ['dev', MountFlag.noDev],
  ['diratime', MountFlag.noDirAtime],
  ['exec', MountFlag.noExec],
  ['nomand', MountFlag.mandatoryLock],
  ['norelatime', MountFlag.relAtime],
  ['nostrictatime', MountFlag.strictAtime],
  ['rw', MountFlag.readonly],
  ['suid', MountFlag.noSuid],
])

/**
 * Takes fstab style options apart; later ones win.
 *
 * @throws {Error} for an `X-containerd.` option: those are for whoever prepares mounts and must be
 * gone by now.
 */
export function parseMountOptions(options: readonly string[]): ParsedOptions {
  let flags = 0
  let loop = false
  let uidMap = ''
  let gidMap = ''
  const data: string[] = []
  for (const option of options) {
    const on = setting.get(option)
    const off = clearing.get(option)
    if (on !== undefined) flags |= on
    else if (off !== undefined) flags &= ~off
    else if (option === 'loop') loop = true
    else if (option.startsWith('uidmap=')) uidMap = option.slice('uidmap='.length)
    else if (option.startsWith('gidmap=')) gidMap = option.slice('gidmap='.length)
    else if (option.startsWith('X-containerd.')) {
      throw new Error(`internal mount option "${option}" was not consumed by the mount manager`)
    } else data.push(option)
  }
  const directIo = loop && data.includes('direct-io')
  const own = directIo ? data.filter((option) => option !== 'direct-io') : data
  return { flags, data: own, loop, directIo, uidMap, gidMap }
}
