import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'

import type { Context } from '#core/context.ts'
import type { Image } from '#core/images/images.ts'
import type { Platform } from '#core/platforms/platforms.ts'
import { importImages } from '#core/transfer/import.ts'
import type { ReportProgress } from '#core/transfer/transfer.ts'
import type { Session } from '#client/session.ts'
import { transferStores } from '#client/stores.ts'
import { ArchiveProgress } from '#client/transfer/archive-progress.ts'

/** An archive: a path, or its bytes as they come. */
export type ArchiveSource = string | AsyncIterable<Uint8Array>

/** What to take from an archive, and what to call it. */
export interface ImportArchiveOptions {
  readonly platform: Platform
  /** Name for an image of an OCI layout that has only a tag; without it one is made from the date. */
  readonly baseName: string
  /** Leave layers to the collector. */
  readonly discardLayers: boolean
  readonly report: ReportProgress | undefined
}

/** Read size: fewer and larger messages to the daemon. */
const readBytes = 1 << 20

/**
 * Reads an OCI layout or a `docker save` archive into the content store and creates the images that
 * it names, or points those that exist at the new content.
 *
 * @throws `invalid_argument` for an archive that is neither; `not_found` when it is not complete.
 */
export async function importArchive(
  ctx: Context,
  session: Session,
  source: ArchiveSource,
  { platform, baseName, discardLayers, report }: ImportArchiveOptions,
): Promise<readonly Image[]> {
  const bytes = report ? await told(source, report) : bytesOf(source)
  const prefix = {
    name: baseName || `import-${new Date().toISOString().slice(0, 10)}`,
    isPrefix: true,
    allowOverwrite: true,
    addDigest: false,
    skipNamedDigest: false,
  }
  const into = { name: '', discardLayers, platforms: [platform], extraReferences: [prefix] }
  const options = report ? { onProgress: report } : {}
  return await importImages(ctx, transferStores(session), { bytes }, into, options)
}

const bytesOf = (source: ArchiveSource): AsyncIterable<Uint8Array> =>
  typeof source === 'string' ? createReadStream(source, { highWaterMark: readBytes }) : source

async function told(
  source: ArchiveSource,
  report: ReportProgress,
): Promise<AsyncIterable<Uint8Array>> {
  // Of a pipe that has a name it is 0, too.
  const total = typeof source === 'string' ? (await stat(source)).size : 0
  return new ArchiveProgress('importing', total, report).count(bytesOf(source))
}
