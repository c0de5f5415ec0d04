import { writeFileSync } from 'node:fs'

import { fullDisk } from '#lib/fs/full-disk.ts'

/** Writes a file of the host's own. @throws `resource_exhausted`, with its name, on a full disk; {SystemError} */
export function writeFile(path: string, text: string): void {
  try {
    writeFileSync(path, text, { mode: 0o600 })
  } catch (err) {
    throw fullDisk(err, path)
  }
}
