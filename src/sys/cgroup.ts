import { existsSync, readFileSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { systemError } from './errno.ts'
import { type MountInfo, mountInfo } from './mount-info.ts'

/** Only v1 hierarchies, v1 for the controllers with v2 beside them, or v2 alone. */
export type CgroupMode = 'legacy' | 'hybrid' | 'unified' | 'unavailable'

const CGROUP2_SUPER_MAGIC = 0x63677270
const root = '/sys/fs/cgroup'

/** How this host has its control groups mounted. */
export function cgroupMode(): CgroupMode {
  const type = typeOf(root)
  if (type === undefined) return 'unavailable'
  if (type === CGROUP2_SUPER_MAGIC) return 'unified'
  return typeOf(join(root, 'unified')) === CGROUP2_SUPER_MAGIC ? 'hybrid' : 'legacy'
}

function typeOf(path: string): number | undefined {
  try {
    return statfsSync(path).type
  } catch {
    return undefined
  }
}

/**
 * The groups `pid` is in, by controller: `memory` → `/docker/x`. The key of v2 is empty, that of a
 * named v1 hierarchy is `name=systemd`.
 *
 * @throws {SystemError} `ENOENT` when the process has ended.
 */
export const cgroupsOf = (pid: number | 'self'): ReadonlyMap<string, string> =>
  parseCgroups(cgroupsText(pid))

/** The same as the kernel writes it, which takes a tenth of the memory. @throws {SystemError} `ENOENT` */
export const cgroupsText = (pid: number | 'self'): string =>
  readFileSync(`/proc/${pid}/cgroup`, 'utf8')

/** Lines of /proc/PID/cgroup: `4:cpu,cpuacct:/user.slice`. */
export function parseCgroups(text: string): ReadonlyMap<string, string> {
  const groups = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (controllers === undefined || path === undefined) continue
    for (const controller of controllers.split(',')) groups.set(controller, path)
  }
  return groups
}

/** Where hierarchies are mounted. With many mounts of other kinds finding out takes its time. */
export const cgroupMounts = (): readonly MountInfo[] =>
  mountInfo().filter(({ type }) => type === 'cgroup' || type === 'cgroup2')

/**
 * Moves this process, and the children it will have, into the group `path` of every hierarchy that
 * has it.
 *
 * @throws {SystemError} `ENOENT` when none has; why the kernel refuses.
 */
export function joinCgroup(path: string): void {
  const groups = cgroupMounts()
    .map(({ mountPoint }) => join(mountPoint, join('/', path)))
    .filter((group) => existsSync(join(group, 'cgroup.procs')))
  if (groups.length === 0) throw systemError(ENOENT, 'join cgroup', { path })
  for (const group of groups) writeFileSync(join(group, 'cgroup.procs'), String(process.pid))
}

const ENOENT = 2

/**
 * The directories of the groups `pid` is in, by controller, keys as in `cgroupsOf`. A group outside
 * what is mounted here, and a hierarchy that is not mounted, are left out.
 *
 * @throws {SystemError} `ENOENT` when the process has ended.
 */
export const cgroupPaths = (
  pid: number | 'self',
  mounts: readonly MountInfo[] = cgroupMounts(),
): ReadonlyMap<string, string> => cgroupPathsIn(cgroupsText(pid), mounts)

/** Likewise, by what `cgroupsText` gave. */
export function cgroupPathsIn(
  text: string,
  mounts: readonly MountInfo[],
): ReadonlyMap<string, string> {
  const paths = new Map<string, string>()
  for (const [controller, group] of parseCgroups(text)) {
    const path = pathIn(
      mounts.find((each) => carries(each, controller)),
      group,
    )
    if (path !== undefined) paths.set(controller, path)
  }
  return paths
}

function carries(mount: MountInfo, controller: string): boolean {
  if (controller === '') return mount.type === 'cgroup2'
  return mount.type === 'cgroup' && mount.superOptions.includes(controller)
}

function pathIn(mount: MountInfo | undefined, group: string): string | undefined {
  if (!mount) return undefined
  if (mount.root === '/') return join(mount.mountPoint, group)
  if (group !== mount.root && !group.startsWith(`${mount.root}/`)) return undefined
  return join(mount.mountPoint, group.slice(mount.root.length))
}
