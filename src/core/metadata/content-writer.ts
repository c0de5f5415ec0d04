import type { CommitOptions, Status, Writer } from '#core/content/content.ts'
import { type Context, withNamespace } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'
import { span } from '#core/trace.ts'
import type { Bucket } from '#lib/bolt/database.ts'
import { alreadyExists, failedPrecondition, hasCode } from '#lib/errors/errors.ts'

import type { Announcer } from './announce.ts'
import type { ContentBackend } from './backends.ts'
import { readText, writeLabels, writeSize, writeTimes } from './fields.ts'
import { type Ingest, ingestLock } from './ingest.ts'
import { addToLease, removeFromLease } from './lease-links.ts'
import type { Records } from './records.ts'
import { blobsOf, find, ingestsOf, make } from './schema.ts'
import { checkLabels, quote } from './wrap.ts'

/** Bytes copied at once when a shared blob is no longer shared. */
const copySize = 1024 * 1024

interface NamespacedWriterOptions extends Ingest {
  readonly ns: string
  readonly records: Records
  readonly backend: ContentBackend
  readonly announcer: Announcer
}

/**
 * An upload of one namespace. When the backend already has the blob it writes nothing; should
 * other bytes come all the same, it first makes a copy to append to.
 */
export class NamespacedWriter implements Writer {
  readonly #options: NamespacedWriterOptions
  readonly #startedAt = new Date()
  #inner: Writer | undefined

  constructor(options: NamespacedWriterOptions) {
    this.#options = options
    this.#inner = options.writer
  }

  async write(ctx: Context, data: Uint8Array): Promise<void> {
    if (!this.#inner && data.length === 0) return
    const inner = this.#inner ?? (await this.#unshare(ctx, this.#options.total))
    await inner.write(ctx, data)
  }

  async append(ctx: Context, data: Uint8Array): Promise<{ readonly written: Promise<void> }> {
    if (this.#inner?.append) return await this.#inner.append(ctx, data)
    await this.write(ctx, data)
    return { written: Promise.resolve() }
  }

  digest(): string {
    return this.#inner?.digest() ?? this.#options.blob
  }

  get path(): string | undefined {
    return this.#inner?.path
  }

  status(): Status {
    const { ref, total, blob } = this.#options
    if (this.#inner) return { ...this.#inner.status(), ref }
    const at = this.#startedAt
    return { ref, offset: total, total, expected: blob, startedAt: at, updatedAt: at }
  }

  async truncate(ctx: Context, size: number): Promise<void> {
    if (this.#inner) await this.#inner.truncate(ctx, size)
    else await this.#unshare(ctx, size)
  }

  async commit(ctx: Context, options: CommitOptions): Promise<void> {
    const { ns, name, mediaType, backend, announcer } = this.#options
    const inside = withNamespace(ctx, ns)
    checkLabels('info.Labels', options.labels ?? {})
    using _ref = await backend.ingests.lock(ingestLock(name), ctx)
    // The one that is expected may be of another algorithm than what was counted along.
    const digest = options.expected || this.digest()
    using _blob = await backend.blobs.lock(digest, ctx)
    const size = await this.#commitBackend(ctx, digest, options)
    const isNew = await this.#settle(inside, { digest, size, labels: options.labels ?? {} })
    backend.blobs.claim(digest)
    if (!isNew) throw alreadyExists(`content ${digest}`)
    announcer.announce(inside, (encode) => encode.contentCreated({ digest, size, mediaType }))
  }

  /** Ends the upload in the backend; the size of the blob. */
  async #commitBackend(ctx: Context, digest: string, options: CommitOptions): Promise<number> {
    const { size = 0, expected = '' } = options
    const { ref, total, blob, backend } = this.#options
    const actual = this.#inner ? this.#inner.status().offset : total
    if (size !== 0 && size !== actual) {
      throw failedPrecondition(`${quote(ref)} failed size validation: ${actual} != ${size}`)
    }
    if (this.#inner) {
      const inner = this.#inner
      await span(ctx, 'backend commit', async (own) => {
        await committed(inner.commit(own, { size: actual, expected }))
      })
      return actual
    }
    if (expected !== '' && expected !== blob) {
      throw failedPrecondition(`${quote(ref)} unexpected digest`)
    }
    // Should the upload have expired meanwhile, the blob may be gone.
    return (await backend.store.info(ctx, digest)).size
  }

  /** Writes the record of the blob in place of that of the upload; whether it is a new one. */
  async #settle(ctx: Context, blob: NewBlob): Promise<boolean> {
    const { ns, ref, records } = this.#options
    try {
      return await records.settle((tx) => {
        const ingests = find(tx, ingestsOf(ns))
        const ingest = ingests?.bucket(ref)
        const shared = ingest ? readText(ingest, 'expected') : ''
        // Other bytes came than those of the blob that it shared, and may have been the last to name.
        if (shared !== '' && shared !== blob.digest) records.markDeleted('content')
        if (ingest) ingests?.deleteBucket(ref)
        removeFromLease(tx, ctx, ['ingests'], ref)
        addToLease(tx, ctx, ['content'], blob.digest)
        return writeBlob(tx, ns, blob)
      })
    } catch (err) {
      // The backend has a blob now that no record names.
      records.markDeleted('content')
      throw err
    }
  }

  /** Begins a real upload with the first `size` bytes of the shared blob. */
  async #unshare(ctx: Context, size: number): Promise<Writer> {
    const { name, blob, backend } = this.#options
    await using scope = new AsyncDisposableStack()
    const inner = scope.use(await backend.store.writer(ctx, { ref: name, total: size }))
    await inner.truncate(ctx, 0)
    if (size > 0) {
      await using reader = await backend.store.reader(ctx, blob)
      for (let at = 0; at < size; ) {
        const data = await reader.read(at, Math.min(copySize, size - at))
        if (data.length === 0) break
        await inner.write(ctx, data)
        at += data.length
      }
    }
    scope.move()
    this.#inner = inner
    return inner
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inner?.[Symbol.asyncDispose]()
  }
}

interface NewBlob {
  readonly digest: string
  readonly size: number
  readonly labels: Labels
}

function writeBlob(tx: Bucket, ns: string, { digest, size, labels }: NewBlob): boolean {
  const blobs = make(tx, blobsOf(ns))
  if (blobs.bucket(digest)) return false
  const bucket = blobs.createBucket(digest)
  const now = new Date()
  writeTimes(bucket, { createdAt: now, updatedAt: now })
  writeLabels(bucket, labels)
  writeSize(bucket, size)
  return true
}

/** Another namespace may have brought the same blob. */
async function committed(commit: Promise<void>): Promise<void> {
  try {
    await commit
  } catch (err) {
    if (!hasCode(err, 'already_exists')) throw err
  }
}
