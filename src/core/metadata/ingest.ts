import type { Info, Writer, WriterOptions } from '#core/content/content.ts'
import { type Context, namespaceOf } from '#core/context.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { hasCode } from '#lib/errors/errors.ts'

import type { ContentBackend } from './backends.ts'
import { readText, writeTime } from './fields.ts'
import { addToLease } from './lease-links.ts'
import type { Records } from './records.ts'
import { backendName, blobsOf, buckets, find, ingestsOf, make, schemaVersion } from './schema.ts'

/** An upload that no lease holds is collected after this long, in ms: a day. */
const expireAfter = 24 * 60 * 60 * 1000

/** Label of a namespace whose blobs others may have by naming their digest. */
const shareableLabel = 'containerd.io/namespace.shareable'

interface IngestOptions {
  readonly records: Records
  readonly backend: ContentBackend
  readonly shared: boolean
}

/** An upload that has begun. */
export interface Ingest {
  readonly ref: string
  /** Its name in the backend. */
  readonly name: string
  readonly total: number
  /** What the blob will be, if that was said. */
  readonly mediaType: string
  /** The upload in the backend; undefined while it shares `blob` and there is nothing to upload. */
  readonly writer: Writer | undefined
  /** Digest of the blob that it shares; empty when it does not. */
  readonly blob: string
}

/** The lock of an upload: its name in the backend without the number, which changes. */
export const ingestLock = (name: string): string => name.replace(/^([^/]*)\/\d+\//, '$1/')

/**
 * Begins an upload, or goes on with one; undefined when the namespace has the expected blob.
 *
 * Its record is durable before the backend hears of it, so the collector can find what is left.
 */
export async function openIngest(
  ctx: Context,
  { records, backend, shared }: IngestOptions,
  options: WriterOptions,
): Promise<Ingest | undefined> {
  const { ref, mediaType = '' } = options
  using _ref = await backend.ingests.lock(`${namespaceOf(ctx)}/${ref}`, ctx)
  const recorded = await record(ctx, { records, backend, shared }, options)
  if (recorded === undefined) return undefined
  const { name, blob } = recorded
  if (blob) {
    return { ref, name, total: blob.size, mediaType, blob: blob.digest, writer: undefined }
  }
  const total = options.total ?? 0
  const writer = await backend.store.writer(ctx, { ref: name, total })
  return { ref, name, total, mediaType, blob: '', writer }
}

interface Recorded {
  readonly name: string
  readonly blob: Info | undefined
}

async function record(
  ctx: Context,
  { records, backend, shared }: IngestOptions,
  options: WriterOptions,
): Promise<Recorded | undefined> {
  const { expected = '', total = 0 } = options
  using _blob = expected === '' ? undefined : await backend.blobs.lock(expected, ctx)
  const found = expected === '' ? undefined : await blobIfAny(ctx, backend, expected)
  const usable = found && (total === 0 || total === found.size) ? found : undefined
  const recorded = await records.update(ctx, (tx) => {
    if (find(tx, [...blobsOf(namespaceOf(ctx)), expected])) {
      addToLease(tx, ctx, ['content'], expected)
      return undefined
    }
    const blob = usable && (shared || isShareable(tx, expected)) ? usable : undefined
    return { name: writeIngest(tx, ctx, options.ref, blob), blob }
  })
  if (recorded) backend.ingests.claim(recorded.name)
  if (recorded?.blob) backend.blobs.claim(expected)
  return recorded
}

async function blobIfAny(
  ctx: Context,
  backend: ContentBackend,
  digest: string,
): Promise<Info | undefined> {
  try {
    return await backend.store.info(ctx, digest)
  } catch (err) {
    if (hasCode(err, 'not_found')) return undefined
    throw err
  }
}

/** Writes the record of an upload, and answers its name in the backend. */
function writeIngest(tx: Bucket, ctx: Context, ref: string, blob: Info | undefined): string {
  const ns = namespaceOf(ctx)
  const bucket = make(tx, [...ingestsOf(ns), ref])
  const leased = addToLease(tx, ctx, ['ingests'], ref)
  let name = readText(bucket, 'ref')
  if (name === '') {
    name = backendName(ns, bucket.nextSequence(), ref)
    bucket.put('ref', name)
  }
  if (!leased) writeTime(bucket, 'expireat', new Date(Date.now() + expireAfter))
  if (blob) bucket.put('expected', blob.digest)
  return name
}

/** Whether a namespace that lets others have its blobs has this one. */
function isShareable(tx: ReadBucket, digest: string): boolean {
  for (const [ns, bucket] of buckets(find(tx, [schemaVersion]))) {
    const labels = bucket.bucket('labels')
    const shareable = labels ? readText(labels, shareableLabel) === 'true' : false
    if (shareable && find(tx, [...blobsOf(ns), digest])) return true
  }
  return false
}
