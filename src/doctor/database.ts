import * as fs from 'node:fs'
import { dirname } from 'node:path'

import { checkFile, type CheckReport } from '#lib/bolt/check.ts'
import { type BoltFile, FdFile } from '#lib/bolt/file.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { salvage, type SalvageOptions, type SalvageReport } from '#lib/bolt/salvage.ts'
import { dataLoss, failedPrecondition, internal } from '#lib/errors/errors.ts'
import { tryLock } from '#sys/flock.ts'

/** A database file that is looked at, closed by its owner. */
export interface HeldFile extends Disposable {
  readonly file: BoltFile
}

/** A file that was written anew. */
export interface Rewritten {
  readonly path: string
  /** Where the damaged file is now; undefined when it is where it was. */
  readonly backup?: string
  readonly salvaged: SalvageReport
  /** What a look at the new file found. */
  readonly check: CheckReport
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

/**
 * Writes all that can be read of `file` into a new file `out`, with the mode and the owner of the
 * first. When it returns, the new file is sound and on disk.
 *
 * @throws `EEXIST` when there is a file `out`; `data_loss` when nothing can be read.
 */
export async function rewrite(
  file: BoltFile,
  out: string,
  options: SalvageOptions = {},
): Promise<Rewritten> {
  const { mode, uid, gid } = fs.statSync(file.path)
  fs.closeSync(fs.openSync(out, 'wx', mode & 0o777))
  using undo = new DisposableStack()
  undo.defer(() => fs.rmSync(out))
  fs.chownSync(out, uid, gid)
  const salvaged = await salvageInto(file, out, options)
  if (salvaged.source === undefined) {
    throw dataLoss(`database ${JSON.stringify(file.path)}: no page of it can be a root of buckets`)
  }
  using held = holdFile(out, false)
  const check = await checkFile(held.file)
  if (!check.sound) throw internal(`${JSON.stringify(out)} was written, and is not sound`)
  syncPath(out)
  syncPath(dirname(out))
  undo.move()
  return { path: out, salvaged, check }
}

/** Like `rewrite`, into the place of `file`, which stays beside it as `backup`. */
export async function replace(file: BoltFile, options: SalvageOptions = {}): Promise<Rewritten> {
  const { path } = file
  const backup = `${path}.damaged-${new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')}`
  const next = `${path}.repaired`
  const rewritten = await rewrite(file, next, options)
  fs.linkSync(path, backup)
  fs.renameSync(next, path)
  syncPath(dirname(path))
  return { ...rewritten, path, backup }
}

async function salvageInto(
  file: BoltFile,
  out: string,
  options: SalvageOptions,
): Promise<SalvageReport> {
  // Not durable before it is whole: it is synced once, at the end.
  await using db = await openDatabase(out, { lock: tryLock, lockTimeoutMs: 1, noSync: true })
  return await salvage(file, db, options)
}

function syncPath(path: string): void {
  const fd = fs.openSync(path, fs.constants.O_RDONLY)
  try {
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}
