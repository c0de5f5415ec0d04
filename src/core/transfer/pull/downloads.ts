import type { Store, Writer } from '#core/content/content.ts'
import { setLabels } from '#core/content/set-labels.ts'
import { openWriter } from '#core/content/write-blob.ts'
import { type Context, forCleanup } from '#core/context.ts'
import type { ComingBlob } from '#core/diff/diff.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Fetcher } from '#core/remotes/remotes.ts'
import { refKey } from '#core/transfer/ref-key.ts'
import { Semaphore } from '#lib/async/semaphore.ts'
import { CodedError, describe, hasCode, invalidArgument } from '#lib/errors/errors.ts'
import { saysFull } from '#lib/fs/full-disk.ts'

import { keepUpload } from './keep-upload.ts'
import { defaultSplitting, receive, type Splitting } from './receive.ts'
import { Together } from './together.ts'

/*
 * A blob on its way into the content store:
 *
 *   open the upload ──► wait for a turn ──► receive ──► commit with labels
 *     │                                                   │
 *     └ it is there: only its labels                      └ wrong digest: throw the upload away
 *
 * Uploads are named after what they are, so one that was cut off goes on where it was, also after a
 * restart of the daemon, and for a day. A blob that another namespace has is there as soon as its upload is opened, if
 * the store shares. Only receiving takes one of the few turns: the durable writes before and after it
 * happen with those of other blobs.
 */

/** A blob to be loaded. */
export interface Download {
  readonly fetcher: Pick<Fetcher, 'fetch'>
  /** The image that it is of, for messages. */
  readonly reference: string
  readonly target: Descriptor
  /** Which labels it gets, when it has `known`. */
  readonly labels: (known: Labels) => Labels
  /** Hears how many bytes are there. */
  readonly onProgress?: (offset: number) => void
  /** Hears, if it has not come before, that it will soon have come, and where it can be seen until then. */
  readonly onComing?: ((blob: ComingBlob) => void) | undefined
}

export interface DownloadsOptions {
  readonly content: Store
  /** How many blobs are received at once; 0 for any number. */
  readonly atOnce: number
  /** Bytes of the parts that large blobs are received in; 0 to do so only when a connection is slow. */
  readonly partBytes?: number
}

/** Smaller parts than this mean none. Source: upstream `core/transfer/local/transfer.go`. */
const leastPartBytes = 512
/** Uploads that are open at once: each has a file. */
const mostUploads = 64

/** Loads blobs of all namespaces, each once, however many ask for it. */
export class Downloads {
  readonly #content: Store
  readonly #splitting: Splitting
  readonly #turns: Semaphore
  readonly #uploads = new Semaphore(mostUploads)
  readonly #together = new Together()

  constructor({ content, atOnce, partBytes: bytes = 0 }: DownloadsOptions) {
    this.#content = content
    this.#splitting =
      bytes > leastPartBytes ? { ...defaultSplitting, bytes, patienceMs: 0 } : defaultSplitting
    this.#turns = new Semaphore(atOnce > 0 ? atOnce : Infinity)
  }

  /**
   * Has a blob in the store, under the lease of `ctx`. @returns whether it was there before.
   *
   * @throws as `Fetcher.fetch`; `failed_precondition` for bytes that have another digest.
   */
  async load(ctx: Context, download: Download): Promise<boolean> {
    const { digest, size } = download.target
    if (size === 0) {
      throw invalidArgument(
        `unable to fetch descriptor (${digest}) which reports content size of zero`,
      )
    }
    return await this.#together.run(ctx, digest, async () => await this.#load(ctx, download))
  }

  async #load(ctx: Context, download: Download): Promise<boolean> {
    using _upload = await this.#uploads.acquire(ctx)
    try {
      const wasCut = await this.#begun(ctx, download)
      // What was there before may have been wrong, and not what came now.
      if (wasCut) await this.#begun(ctx, download)
      return false
    } catch (err) {
      if (!hasCode(err, 'already_exists')) throw err
    }
    await setLabels(ctx, this.#content, download.target.digest, download.labels)
    return true
  }

  /** As `#upload`. What has come of one that fails is kept. */
  async #begun(ctx: Context, download: Download): Promise<boolean> {
    try {
      return await this.#upload(ctx, download)
    } catch (err) {
      if (!hasCode(err, 'already_exists')) {
        await keepUpload(ctx, this.#content, refKey(download.target), err)
      }
      throw saysFull(err) ? noRoom(download, err) : err
    }
  }

  /** @returns whether all must be done again, since what was gone on with was wrong. */
  async #upload(ctx: Context, download: Download): Promise<boolean> {
    const { target, labels } = download
    const { digest: expected, size, mediaType } = target
    const ref = refKey(target)
    await using writer = await openWriter(ctx, this.#content, {
      ref,
      total: size,
      expected,
      mediaType,
    })
    if (writer.status().offset > size) await writer.truncate(ctx, 0)
    const { offset } = writer.status()
    const host = offset < size ? await this.#receive(ctx, writer, download) : ''
    try {
      await writer.commit(ctx, { size, expected, labels: labels({}) })
      return false
    } catch (err) {
      if (!hasCode(err, 'failed_precondition')) throw err
      await this.#content.abort(forCleanup(ctx), ref)
      if (offset > 0) return true
      const why = err instanceof Error ? err.message : String(err)
      const what = `fetch ${expected} of "${download.reference}": host ${host} sends something else`
      const todo =
        'pull again; if it stays, the registry, or a proxy before it, has a damaged copy of it'
      const message = `${what}, ${todo}: failed commit on ref ${ref}: ${why}`
      throw new CodedError('failed_precondition', message, { cause: err })
    }
  }

  async #receive(ctx: Context, writer: Writer, download: Download): Promise<string> {
    using _turn = await this.#turns.acquire(ctx)
    return await receive(ctx, writer, download, this.#splitting)
  }
}

function noRoom({ target, reference }: Download, cause: unknown): CodedError {
  const message = `fetch ${target.digest} of "${reference}": ${describe(cause)}; make room, and pull again`
  return new CodedError('resource_exhausted', message, { cause })
}
