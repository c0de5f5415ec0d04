import * as fs from 'node:fs'
import { open, rename } from 'node:fs/promises'

import type { Status } from '#core/content/content.ts'
import { notFound } from '#lib/errors/errors.ts'
import { formatRfc3339, parseRfc3339 } from '#lib/go/rfc3339.ts'

import { isMissing } from './errno.ts'
import type { IngestPaths } from './layout.ts'

/**
 * The state of an upload as its files have it. Files that a power cut left empty are made up for
 * by the times of the data file.
 *
 * @throws `not_found`.
 */
export function readIngest(paths: IngestPaths): Status {
  try {
    const data = fs.statSync(paths.data)
    const updatedAt = readTime(paths.updatedAt) ?? data.mtime
    return {
      ref: fs.readFileSync(paths.ref, 'utf8'),
      offset: data.size,
      total: readTotal(paths.total),
      expected: '',
      startedAt: readTime(paths.startedAt) ?? data.birthtime,
      updatedAt: data.mtime > updatedAt ? data.mtime : updatedAt,
    }
  } catch (err) {
    if (!isMissing(err)) throw err
    throw notFound(err.message, { cause: err })
  }
}

/** Makes the files of a new upload, replacing what may be left of an old one. */
export function createIngest(paths: IngestPaths, ref: string, total: number, now: Date): void {
  fs.rmSync(paths.dir, { recursive: true, force: true })
  fs.mkdirSync(paths.dir, { mode: 0o755 })
  fs.writeFileSync(paths.ref, ref)
  for (const path of [paths.startedAt, paths.updatedAt]) {
    fs.writeFileSync(`${path}.tmp`, formatRfc3339(now))
    fs.renameSync(`${path}.tmp`, path)
  }
  if (total > 0) fs.writeFileSync(paths.total, String(total))
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

function readTime(path: string): Date | undefined {
  try {
    return parseRfc3339(fs.readFileSync(path, 'utf8'))
  } catch (err) {
    if (isMissing(err) || err instanceof RangeError) return undefined
    throw err
  }
}

function readTotal(path: string): number {
  try {
    const total = Number(fs.readFileSync(path, 'utf8'))
    return Number.isSafeInteger(total) && total > 0 ? total : 0
  } catch (err) {
    if (isMissing(err)) return 0
    throw err
  }
}
