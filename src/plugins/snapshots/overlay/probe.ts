import * as fs from 'node:fs'
import { release } from 'node:os'
import { join } from 'node:path'

import { mount, unmount } from '#sys/mount.ts'

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
  const [major = 0, minor = 0] = release().split('.').map(Number)
  return major > 5 || (major === 5 && minor >= 11) || mountsWithUserXattr(root)
}

/** Older kernels may have the option from their distribution. */
function mountsWithUserXattr(root: string): boolean {
  const dir = fs.mkdtempSync(join(root, 'userxattr-check-'))
  using undo = new DisposableStack()
  undo.defer(() => fs.rmSync(dir, { recursive: true }))
  const [lower1, lower2, upper, work, merged = ''] = [
    'lower1',
    'lower2',
    'upper',
    'work',
    'merged',
  ].map((name) => join(dir, name))
  for (const path of [lower1, lower2, upper, work, merged]) if (path) fs.mkdirSync(path)
  const data = `lowerdir=${lower2}:${lower1},upperdir=${upper},workdir=${work},userxattr`
  try {
    mount({ source: 'overlay', target: merged, type: 'overlay', data })
  } catch {
    return false
  }
  unmount(merged)
  return true
}
