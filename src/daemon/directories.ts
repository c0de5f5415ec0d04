import { chmod, mkdir, stat } from 'node:fs/promises'

import type { Config } from './config/config.ts'

/**
 * Makes the daemon's directories with containerd's modes, and tightens those that are looser: earlier
 * releases made them so. One that is tighter stays as it is. Containers of remapped users must be able
 * to pass through `state`.
 *
 * Source: upstream `CreateTopLevelDirectories`.
 */
export async function makeDirectories({ root, state, temp }: Config): Promise<void> {
  await make(root, 0o700)
  await make(state, 0o711)
  if (temp === '') return
  await make(temp, 0o700)
  process.env['TMPDIR'] = temp
}

async function make(path: string, mode: number): Promise<void> {
  const isNew = (await mkdir(path, { recursive: true, mode })) !== undefined
  const found = isNew ? mode : (await stat(path)).mode & 0o7777
  try {
    // Of what was just made the umask has taken its part.
    if (isNew || (found & 0o777 & ~mode) !== 0) await chmod(path, found & mode)
  } catch (err) {
    // In a user namespace the directory may be of somebody else, whose business its mode is.
    if (!(err instanceof Error && 'code' in err && err.code === 'EPERM')) throw err
  }
}
