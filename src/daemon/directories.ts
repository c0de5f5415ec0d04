import { chmod, mkdir } from 'node:fs/promises'

import type { Config } from './config.ts'

/** Makes the daemon's directories with containerd's modes, and tightens those that are looser. */
export async function makeDirectories(config: Config): Promise<void> {
  await make(config.root, 0o700)
  await make(config.state, 0o711)
  if (config.temp === '') return
  await make(config.temp, 0o700)
  process.env['TMPDIR'] = config.temp
}

async function make(path: string, mode: number): Promise<void> {
  await mkdir(path, { recursive: true, mode })
  await chmod(path, mode)
}
