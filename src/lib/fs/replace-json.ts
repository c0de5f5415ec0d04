import { renameSync, writeFileSync } from 'node:fs'

import { hasErrno } from './has-errno.ts'

/**
 * Has `value` in the file at `path`, which only its owner can read. The file appears whole, by a rename, and is
 * not flushed. A directory that is gone needs none. @throws {SystemError}
 */
export function replaceJson(path: string, value: object): void {
  try {
    writeFileSync(`${path}.tmp`, JSON.stringify(value), { mode: 0o600 })
    renameSync(`${path}.tmp`, path)
  } catch (err) {
    if (!hasErrno(err, 'ENOENT')) throw err
  }
}
