import { setImmediate } from 'node:timers/promises'

import { adaptInfo, adaptStatus } from '#core/content/adapt.ts'
import type { Info, Reader, Status, Store, Writer, WriterOptions } from '#core/content/content.ts'
import { type Context, forCleanup, namespaceOf } from '#core/context.ts'
import type { ReadBucket } from '#lib/bolt/database.ts'
import { parseDigest } from '#lib/digest/digest.ts'
import { alreadyExists, hasCode, invalidArgument, notFound } from '#lib/errors/errors.ts'
import { parseFilters } from '#lib/filters/filters.ts'

import type { Announcer } from './announce.ts'
import type { ContentBackend } from './backends.ts'
import { ignoringMissing } from './content-gc.ts'
import { NamespacedWriter } from './content-writer.ts'
import { readLabels, readSize, readText, readTimes, writeLabels, writeTime } from './fields.ts'
import { openIngest } from './ingest.ts'
import { removeFromLease } from './lease-links.ts'
import { maskLabels } from './masks.ts'
import { RecordCache } from './record-cache.ts'
import type { Records } from './records.ts'
import { blobsOf, buckets, decodeText, find, ingestsOf } from './schema.ts'
import { checkLabels } from './wrap.ts'

/** What the namespaces' view of the content store stands on. */
export interface ContentViewOptions {
  readonly records: Records
  readonly backend: ContentBackend
  readonly announcer: Announcer
  /** Whether a namespace may have a blob of another one by naming its digest. */
  readonly shared: boolean
}

/** How many records of blobs are kept decoded. */
const knownInfos = 32

/** Each namespace's view of the one content store: its own blobs, labels and uploads. */
export class ContentView implements Store {
  readonly #options: ContentViewOptions
  readonly #records: Records
  readonly #backend: ContentBackend
  /** Of blobs that are being read: `ctr` asks for one in pieces of 32 KiB. */
  readonly #known = new RecordCache<Info>(knownInfos)

  constructor(options: ContentViewOptions) {
    this.#options = options
    this.#records = options.records
    this.#backend = options.backend
  }

  async info(ctx: Context, digest: string): Promise<Info> {
    const ns = namespaceOf(ctx)
    ctx.signal.throwIfAborted()
    parseDigest(digest)
    const read = (): Info =>
      this.#records.view((tx) => readInfo(blobBucket(tx, ns, digest), digest))
    return await Promise.resolve(this.#known.get(this.#records.revision, `${ns}/${digest}`, read))
  }

  async update(
    ctx: Context,
    { digest, labels }: Pick<Info, 'digest' | 'labels'>,
    paths: readonly string[],
  ): Promise<Info> {
    const ns = namespaceOf(ctx)
    return await this.#records.update(ctx, (tx) => {
      const bucket = find(tx, [...blobsOf(ns), digest])
      if (!bucket) throw missing(digest)
      const info = readInfo(bucket, digest)
      const what = `content info ${JSON.stringify(digest)}`
      const updated = maskLabels(paths, info.labels, labels, what)
      checkLabels('info.Labels', updated)
      const updatedAt = new Date()
      writeTime(bucket, 'updatedat', updatedAt)
      writeLabels(bucket, updated)
      return { ...info, labels: updated, updatedAt }
    })
  }

  async *list(ctx: Context, filters?: readonly string[]): AsyncGenerator<Info> {
    const ns = namespaceOf(ctx)
    const matches = parseFilters(filters)
    for (const batch of this.#batches(ns)) {
      ctx.signal.throwIfAborted()
      yield* batch.filter((info) => matches(adaptInfo(info)))
      // Others may go on before the next part.
      await setImmediate()
    }
  }

  /** The blobs of a namespace, read in parts: between two, the database may change. */
  *#batches(ns: string): Generator<readonly Info[]> {
    const size = 100
    let from: string | undefined
    do {
      const start: string | undefined = from
      const batch: Info[] = this.#records.view((tx) => {
        const infos: Info[] = []
        const blobs = find(tx, blobsOf(ns))
        for (const { key } of blobs?.entries(start) ?? []) {
          const bucket = blobs?.bucket(key)
          if (bucket) infos.push(readInfo(bucket, decodeText(key)))
          if (infos.length > size) break
        }
        return infos
      })
      // One more than asked for: where to go on.
      from = batch.length > size ? batch.pop()?.digest : undefined
      yield batch
    } while (from !== undefined)
  }

  /** Deletes the record; the blob itself goes with the next collection, if nobody else has it. */
  async delete(ctx: Context, digest: string): Promise<void> {
    const ns = namespaceOf(ctx)
    parseDigest(digest)
    await this.#records.update(ctx, (tx) => {
      const blobs = find(tx, blobsOf(ns))
      if (!blobs || !find(blobs, [digest])) throw missing(digest)
      blobs.deleteBucket(digest)
      removeFromLease(tx, ctx, ['content'], digest)
      this.#records.markDeleted('content')
    })
  }

  async reader(ctx: Context, digest: string): Promise<Reader> {
    await this.info(ctx, digest)
    return await this.#backend.store.reader(ctx, digest)
  }

  async writer(ctx: Context, options: WriterOptions): Promise<Writer> {
    if (options.ref === '') throw invalidArgument('ref must not be empty')
    const expected = options.expected ?? ''
    if (expected !== '') parseDigest(expected)
    const opened = await openIngest(ctx, this.#options, options)
    if (opened === undefined) throw alreadyExists(`content ${expected}`)
    return new NamespacedWriter({ ...this.#options, ...opened, ns: namespaceOf(ctx) })
  }

  async status(ctx: Context, ref: string): Promise<Status> {
    const ns = namespaceOf(ctx)
    ctx.signal.throwIfAborted()
    const name = this.#records.view((tx) => {
      const bucket = find(tx, [...ingestsOf(ns), ref])
      return bucket ? readText(bucket, 'ref') : ''
    })
    if (name === '') throw missingRef(ref)
    return { ...(await this.#backend.store.status(ctx, name)), ref }
  }

  async listStatuses(ctx: Context, filters?: readonly string[]): Promise<readonly Status[]> {
    const ns = namespaceOf(ctx)
    const matches = parseFilters(filters)
    const refs = this.#records.view((tx) =>
      Array.from(buckets(find(tx, ingestsOf(ns))), ([ref, bucket]) => ({
        ref,
        name: readText(bucket, 'ref'),
      })),
    )
    const statuses: Status[] = []
    for (const { ref, name } of refs) {
      const status = await this.#statusIfAny(ctx, name)
      if (status && matches(adaptStatus({ ...status, ref }))) statuses.push({ ...status, ref })
    }
    return statuses
  }

  /** An upload of a blob that is shared has nothing in the backend. */
  async #statusIfAny(ctx: Context, name: string): Promise<Status | undefined> {
    try {
      return await this.#backend.store.status(ctx, name)
    } catch (err) {
      if (hasCode(err, 'not_found')) return undefined
      throw err
    }
  }

  async abort(ctx: Context, ref: string): Promise<void> {
    const ns = namespaceOf(ctx)
    const { ingests, store } = this.#backend
    using _ref = await ingests.lock(`${ns}/${ref}`, ctx)
    const name = await this.#records.update(ctx, (tx) => {
      const bucket = find(tx, ingestsOf(ns))
      const ingest = bucket && find(bucket, [ref])
      const inBackend = ingest ? readText(ingest, 'ref') : ''
      if (!bucket || inBackend === '') throw missingRef(ref)
      // It may have been the last to name a blob that it shares.
      if (ingest && readText(ingest, 'expected') !== '') this.#records.markDeleted('content')
      bucket.deleteBucket(ref)
      removeFromLease(tx, ctx, ['ingests'], ref)
      return inBackend
    })
    try {
      await ignoringMissing(store.abort(forCleanup(ctx), name))
    } catch (err) {
      this.#records.markDeleted('content')
      throw err
    }
  }

  /** The backend is not this view's to close. */
  async [Symbol.asyncDispose](): Promise<void> {}
}

const missing = (digest: string): Error => notFound(`content digest ${digest}`)
const missingRef = (ref: string): Error => notFound(`reference ${ref}`)

function blobBucket(tx: ReadBucket, ns: string, digest: string): ReadBucket {
  const bucket = find(tx, [...blobsOf(ns), digest])
  if (!bucket) throw missing(digest)
  return bucket
}

const readInfo = (bucket: ReadBucket, digest: string): Info => ({
  digest,
  size: readSize(bucket),
  labels: readLabels(bucket),
  ...readTimes(bucket),
})
