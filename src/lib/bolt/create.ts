import { dataLoss } from '#lib/errors/errors.ts'

import type { BoltFile } from './file.ts'
import { encodeMeta, noFreelist } from './meta.ts'
import { encodeLeaf } from './page.ts'

/** The page size of files made here; the file says it, so any system reads them. */
const newPageSize = 4096

/** Where an unfinished creation ends. */
const newPages = 4

/**
 * Writes an empty database: its empty root, and when that is durable, both metas.
 *
 * @throws `data_loss` when the file holds something else than an unfinished creation.
 */
export async function create(
  file: BoltFile,
  sync: boolean,
  pageSize: number = newPageSize,
): Promise<void> {
  const { rootPage, metas } = emptyDatabase(pageSize)
  const metaPages = Buffer.alloc(2 * pageSize)
  file.read(metaPages, 0)
  if (file.size() > newPages * pageSize || metaPages.some((byte) => byte !== 0)) {
    throw dataLoss(`database ${JSON.stringify(file.path)}: neither meta page is valid`)
  }
  await file.truncate(newPages * pageSize)
  await file.write(rootPage, 2 * pageSize)
  if (sync) await file.sync(false)
  for (const [i, meta] of metas.entries()) await file.write(meta, i * pageSize)
  if (sync) await file.sync(false)
}

function emptyDatabase(pageSize: number): { rootPage: Buffer; metas: Buffer[] } {
  const rootPage = Buffer.alloc(pageSize)
  encodeLeaf(rootPage, 2, 1, [])
  const meta = { pageSize, root: 2, sequence: 0n, freelist: noFreelist, highWater: 3 }
  return { rootPage, metas: [0, 1].map((txid) => encodeMeta({ ...meta, txid })) }
}
