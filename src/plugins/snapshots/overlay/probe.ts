import * as fs from 'node:fs'
import { release } from 'node:os'
import { join } from 'node:path'

import { mount, mountAll, unmount, unmountAll } from '#sys/mount.ts'

/** Where the kernel tells of overlayfs's `index` option, if it has it. */
const indexParameter = '/sys/module/overlay/parameters/index'
const tmpfsMagic = 0x01021994

/** `configured`, and what overlayfs needs on this machine to work for containers. */
export function overlayOptions(root: string, configured: readonly string[]): readonly string[] {
  const has = (key: string): boolean =>
    configured.some((option) => option === key || option.startsWith(`${key}=`))
  const options = [...configured]
  if (!has('userxattr') && needsUserXattr(root)) options.push('userxattr')
  // With an index a lower layer can't be shared by mounts that were made at different paths.
  if (!has('index') && fs.existsSync(indexParameter)) options.push('index=off')
  return options
}

/** Whether this process's root is not the machine's. Source: user_namespaces(7). */
export function inUserNamespace(): boolean {
  try {
    const map = fs.readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\s+/)
    return map.join(' ') !== '0 0 4294967295'
  } catch {
    return false // A kernel without user namespaces.
  }
}

/**
 * Whether overlayfs has to keep its marks in `user.` attributes, because `trusted.` ones are for the
 * machine's root. tmpfs has no `user.` attributes. Source: upstream `overlayutils/check.go`.
 */
function needsUserXattr(root: string): boolean {
  if (!inUserNamespace() || fs.statfsSync(root).type === tmpfsMagic) return false
  return kernelIsAtLeast(5, 11) || mountsWithUserXattr(root)
}

/** Older kernels may have the option from their distribution. */
function mountsWithUserXattr(root: string): boolean {
  using dir = overlayDirs(root)
  const data = `lowerdir=${dir.of('lower')},upperdir=${dir.of('upper')},workdir=${dir.of('work')},userxattr`
  try {
    mount({ source: 'overlay', target: dir.of('merged'), type: 'overlay', data })
  } catch {
    return false
  }
  unmount(dir.of('merged'))
  return true
}

/**
 * Whether what is below an overlay can be given to other users by its mount. Older kernels may have
 * it from their distribution; in a user namespace it depends on who made the file system.
 */
export function supportsIdMapping(root: string): boolean {
  return (kernelIsAtLeast(5, 19) && !inUserNamespace()) || mountsMapped(root)
}

/** @returns whether an overlay over what belongs to root shows a root of another id. */
export function mountsMapped(root: string): boolean {
  fs.mkdirSync(root, { recursive: true, mode: 0o700 })
  using dir = overlayDirs(root)
  const dirs = ['lower', 'upper', 'work'].map((name) => `${name}dir=${dir.of(name)}`)
  const options = ['uidmap=0:666:1', 'gidmap=0:666:1', 'index=off', 'ro', ...dirs]
  fs.writeFileSync(join(dir.of('lower'), 'file'), '')
  try {
    mountAll([{ type: 'overlay', source: 'overlay', options }], dir.of('merged'))
    const { uid, gid } = fs.statSync(join(dir.of('merged'), 'file'))
    return uid === 666 && gid === 666
  } catch {
    return false
  } finally {
    unmountAll(dir.of('merged'), { detach: true })
  }
}

/** Directories for an overlay: `lower`, `upper`, `work` and `merged`. */
function overlayDirs(root: string): Disposable & { readonly of: (name: string) => string } {
  const path = fs.mkdtempSync(join(root, 'overlay-check-'))
  for (const name of ['lower', 'upper', 'work', 'merged']) fs.mkdirSync(join(path, name))
  return {
    of: (name) => join(path, name),
    [Symbol.dispose]: () => fs.rmSync(path, { recursive: true, force: true }),
  }
}

function kernelIsAtLeast(major: number, minor: number): boolean {
  const [hasMajor = 0, hasMinor = 0] = release().split('.').map(Number)
  return hasMajor > major || (hasMajor === major && hasMinor >= minor)
}
