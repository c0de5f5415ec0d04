import { readdirSync, readlinkSync, realpathSync } from 'node:fs'
import { join } from 'node:path'

import { isErrno } from '#sys/errno.ts'
import { type MountInfo, mountInfo } from '#sys/mount-info.ts'

/**
 * The mounts of every process: of all mount namespaces that somebody is in. A container that still
 * runs has its root file system in one of them.
 */
export function allMounts(): readonly MountInfo[] {
  const seen = new Set<string>()
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => mountsOf(Number(pid), seen))
}

function mountsOf(pid: number, seen: Set<string>): readonly MountInfo[] {
  try {
    const namespace = readlinkSync(`/proc/${pid}/ns/mnt`)
    if (seen.has(namespace)) return []
    const mounts = mountInfo(pid)
    seen.add(namespace)
    return mounts
  } catch (err) {
    // It has ended, or is a thread of the kernel.
    if (isErrno(err, 'ENOENT', 'ESRCH', 'EINVAL', 'EACCES')) return []
    throw err
  }
}

/**
 * Which entries of `directory` are part of a mount: as a layer of an overlay, or bound from it. An
 * overlay whose layers are given by short names (`12/fs`, as containerd does when they are many) is
 * taken to be of this directory unless its upper layer says otherwise.
 */
export function entriesMounted(
  directory: string,
  mounts: readonly MountInfo[],
): ReadonlySet<string> {
  const real = realpathOf(directory)
  if (real === undefined) return new Set()
  const bound = boundBelow(real, mounts)
  const used = mounts.flatMap((mount) => [
    ...(mount.type === 'overlay' ? layersBelow([directory, real], mount) : []),
    ...bound(mount),
  ])
  return new Set(used)
}

/** Whether something is mounted at `path` or below it. */
export const isMountedBelow = (path: string, mounts: readonly MountInfo[]): boolean =>
  mounts.some(({ mountPoint }) => mountPoint === path || mountPoint.startsWith(`${path}/`))

function realpathOf(path: string): string | undefined {
  try {
    return realpathSync(path)
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return undefined
    throw err
  }
}

function layersBelow(directories: readonly string[], mount: MountInfo): readonly string[] {
  const paths = mount.superOptions.flatMap(pathsIn)
  const entries = paths.flatMap((path) => directories.flatMap((each) => entryOf(each, path)))
  const relative = paths.filter((path) => !path.startsWith('/'))
  const hasUpper = mount.superOptions.some((option) => option.startsWith('upperdir='))
  if (relative.length === 0 || (hasUpper && entries.length === 0)) return entries
  return [...entries, ...relative.map((path) => path.split('/', 1)[0] ?? '')]
}

/** The directories in an option of an overlay; a colon parts them, a backslash takes their meaning. */
function pathsIn(option: string): readonly string[] {
  const [, value = ''] = /^(?:lowerdir\+?|upperdir|workdir|datadir\+)=(.*)$/s.exec(option) ?? []
  return (value.match(/(?:\\.|[^:\\])+/gs) ?? []).map((path) => path.replace(/\\(.)/gs, '$1'))
}

/** The entry of `directory` that `path` is in. */
function entryOf(directory: string, path: string): readonly string[] {
  if (!path.startsWith(`${directory}/`)) return []
  return path.slice(directory.length + 1).split('/', 1)
}

/** Tells of a mount which entry of `real` it is bound from: the part of the file system it shows. */
function boundBelow(
  real: string,
  mounts: readonly MountInfo[],
): (mount: MountInfo) => readonly string[] {
  const own = mountInfo()
    .filter(({ mountPoint }) => mountPoint === '/' || `${real}/`.startsWith(`${mountPoint}/`))
    .toSorted((a, b) => b.mountPoint.length - a.mountPoint.length || b.id - a.id)[0]
  if (!own || mounts.length === 0) return () => []
  const rest = real.slice(own.mountPoint === '/' ? 0 : own.mountPoint.length)
  const inside = join(own.root, rest)
  return (mount) => (mount.device === own.device ? entryOf(inside, mount.root) : [])
}
