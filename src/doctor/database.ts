import * as fs from 'node:fs'

import { type BoltFile, FdFile } from '#lib/bolt/file.ts'
import { failedPrecondition } from '#lib/errors/errors.ts'
import { tryLock } from '#sys/flock.ts'

/** A database file that is looked at, closed by its owner. */
export interface HeldFile extends Disposable {
  readonly file: BoltFile
}

/**
 * Opens a database file for reading, and holds its lock so that no daemon writes to it meanwhile;
 * `exclusive` keeps other readers away too.
 *
 * @throws `failed_precondition` when a daemon has it; system errors as they are.
 */
export function holdFile(path: string, exclusive: boolean): HeldFile {
  using undo = new DisposableStack()
  const fd = fs.openSync(path, fs.constants.O_RDONLY)
  const file = undo.adopt(new FdFile(fd, path), (opened) => opened.close())
  if (!fs.fstatSync(fd).isFile()) throw failedPrecondition(`${JSON.stringify(path)} is no file`)
  if (!tryLock(fd, exclusive)) {
    throw failedPrecondition(
      `database ${JSON.stringify(path)} is in use: stop the daemon that runs on it first`,
    )
  }
  const held = undo.move()
  return { file, [Symbol.dispose]: () => held.dispose() }
}
