import { chmodSync, mkdirSync, statSync } from 'node:fs'

import type { Config } from './config/config.ts'

/**
 * Makes the daemon's directories with containerd's modes, and tightens those that are looser: earlier
 * releases made them so. One that is tighter stays as it is. Containers of remapped users must be able
 * to pass through `state`.
 *
 * Source: upstream `CreateTopLevelDirectories`.
 */
export function makeDirectories({ root, state, temp }: Config): void {
  make(root, 0o700)
  make(state, 0o711)
  if (temp === '') return
  make(temp, 0o700)
  process.env['TMPDIR'] = temp
}

function make(path: string, mode: number): void {
  const isNew = mkdirSync(path, { recursive: true, mode }) !== undefined
  const found = isNew ? mode : statSync(path).mode & 0o7777
  try {
    // Of what was just made the umask has taken its part.
    if (isNew || (found & 0o777 & ~mode) !== 0) chmodSync(path, found & mode)
  } catch (err) {
    // In a user namespace the directory may be of somebody else, whose business its mode is.
    if (!(err instanceof Error && 'code' in err && err.code === 'EPERM')) throw err
  }
}
