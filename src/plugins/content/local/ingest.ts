import {
  link,
  mkdir,
  open,
  readFile,
  rename,
  rm,
  rmdir,
  stat,
  unlink,
  writeFile,
} from 'node:fs/promises'

import type { Status } from '#core/content/content.ts'
import { notFound } from '#lib/errors/errors.ts'
import { formatRfc3339, parseRfc3339 } from '#lib/go/rfc3339.ts'
import { isErrno } from '#sys/errno.ts'

import { isMissing } from './errno.ts'
import type { IngestPaths } from './layout.ts'

/**
 * The state of an upload as its files have it. Files that a power cut left empty are made up for
 * by the times of the data file.
 *
 * @throws `not_found`.
 */
export async function readIngest(paths: IngestPaths): Promise<Status> {
  try {
    const [data, ref, startedAt, updatedAt, total] = await Promise.all([
      stat(paths.data),
      readFile(paths.ref, 'utf8'),
      readTime(paths.startedAt),
      readTime(paths.updatedAt),
      readTotal(paths.total),
    ])
    return {
      ref,
      offset: data.size,
      total,
      expected: '',
      startedAt: startedAt ?? data.birthtime,
      updatedAt: updatedAt && updatedAt > data.mtime ? updatedAt : data.mtime,
    }
  } catch (err) {
    if (!isMissing(err)) throw err
    throw notFound(err.message, { cause: err })
  }
}

/** Makes the files of a new upload, but for its data. @returns false when there are files already. */
export async function createIngest(
  paths: IngestPaths,
  { ref, total, now }: { readonly ref: string; readonly total: number; readonly now: Date },
): Promise<boolean> {
  try {
    await mkdir(paths.dir, { mode: 0o755 })
  } catch (err) {
    // A full disk, too, may refuse a name.
    if (!isErrno(err, 'EEXIST')) throw err
    return false
  }
  const times = async (): Promise<void> => {
    await writeFile(paths.startedAt, formatRfc3339(now))
    await link(paths.startedAt, paths.updatedAt)
  }
  const sized = total > 0 ? [writeFile(paths.total, String(total))] : []
  await Promise.all([writeFile(paths.ref, ref), times(), ...sized])
  return true
}

/** Removes an upload whose data is gone; whatever else is there goes too. */
export async function removeIngest(paths: IngestPaths): Promise<void> {
  const files = [paths.ref, paths.startedAt, paths.updatedAt, paths.total]
  await Promise.allSettled(files.map(unlink))
  await rmdir(paths.dir).catch(async () => await rm(paths.dir, { recursive: true, force: true }))
}

/** Records when an upload was last written to, durably. */
export async function writeUpdatedAt(paths: IngestPaths, updatedAt: Date): Promise<void> {
  const temporary = `${paths.updatedAt}.tmp`
  {
    await using file = await open(temporary, 'w')
    await file.writeFile(formatRfc3339(updatedAt))
    await file.sync()
  }
  await rename(temporary, paths.updatedAt)
}

async function readTime(path: string): Promise<Date | undefined> {
  try {
    return parseRfc3339(await readFile(path, 'utf8'))
  } catch (err) {
    if (isMissing(err) || err instanceof RangeError) return undefined
    throw err
  }
}

async function readTotal(path: string): Promise<number> {
  try {
    const total = Number(await readFile(path, 'utf8'))
    return Number.isSafeInteger(total) && total > 0 ? total : 0
  } catch (err) {
    if (isMissing(err)) return 0
    throw err
  }
}
