/**
 * Where the content store keeps things. Source: upstream `plugins/content/local/store.go`.
 *
 *     <root>/blobs/<algorithm>/<hex>       a blob; read-only; its mtime is when it was committed
 *     <root>/ingest/<sha256 of ref>/       an upload
 *         ref                              its name
 *         data                             what has come so far
 *         startedat updatedat              RFC 3339 with fraction; `data`'s mtime may be later
 *         total                            expected bytes in decimal; only when known
 */
import { join } from 'node:path'

import { digestFault, digestOf, parseDigest } from '#lib/digest/digest.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

/** The files of one upload. */
export interface IngestPaths {
  readonly dir: string
  readonly ref: string
  readonly data: string
  readonly startedAt: string
  readonly updatedAt: string
  readonly total: string
}

export const blobsDir = (root: string): string => join(root, 'blobs')
export const ingestDir = (root: string): string => join(root, 'ingest')

/** The file of a blob. @throws `invalid_argument`, beginning with `purpose`, for a bad digest. */
export function blobPath(root: string, digest: string, purpose: string): string {
  const fault = digestFault(digest)
  if (fault !== undefined) {
    throw invalidArgument(`${purpose}: cannot calculate blob path from invalid digest: ${fault}`)
  }
  const { algorithm, hex } = parseDigest(digest)
  return join(root, 'blobs', algorithm, hex)
}

/** The files of the upload `ref`; hashing the ref keeps names short and harmless. */
export const ingestPaths = (root: string, ref: string): IngestPaths =>
  ingestPathsIn(join(ingestDir(root), digestOf(ref).slice('sha256:'.length)))

/** The files of the upload in `dir`. */
export const ingestPathsIn = (dir: string): IngestPaths => ({
  dir,
  ref: join(dir, 'ref'),
  data: join(dir, 'data'),
  startedAt: join(dir, 'startedat'),
  updatedAt: join(dir, 'updatedat'),
  total: join(dir, 'total'),
})
