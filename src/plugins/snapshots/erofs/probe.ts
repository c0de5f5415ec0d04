import { accessSync, constants, readFileSync } from 'node:fs'
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
