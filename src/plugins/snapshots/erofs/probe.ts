import { accessSync, constants, readFileSync } from 'node:fs'
import { release } from 'node:os'
import { delimiter, join } from 'node:path'

/** What this machine lacks for snapshots as erofs images, in words; undefined when it lacks nothing. */
export function missingForErofs(): string | undefined {
  if (!readFileSync('/proc/filesystems', 'utf8').includes('\terofs\n')) {
    return 'the kernel has no erofs; try modprobe erofs'
  }
  if (!isInstalled('mkfs.erofs')) {
    return 'mkfs.erofs is not installed; it is in the package erofs-utils'
  }
  return undefined
}

/** Whether layers can be given to other users by their mounts: Linux 5.19 can, for the machine's root. */
export function supportsIdMapping(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number)
  const map = readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\s+/).join(' ')
  return (major > 5 || (major === 5 && minor >= 19)) && map === '0 0 4294967295'
}

function isInstalled(program: string): boolean {
  const directories = (process.env['PATH'] ?? '').split(delimiter)
  return directories.some((dir) => {
    try {
      accessSync(join(dir, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
