import type { Context } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'

/** A committed blob. */
export interface Info {
  readonly digest: string
  readonly size: number
  readonly createdAt: Date
  readonly updatedAt: Date
  readonly labels: Labels
}

/** An upload in progress. */
export interface Status {
  /** The client's name for the upload. */
  readonly ref: string
  /** Bytes received. */
  readonly offset: number
  /** Expected bytes; 0 when not known. */
  readonly total: number
  readonly expected: string
  readonly startedAt: Date
  readonly updatedAt: Date
}

/** Random access to a blob. */
export interface Reader extends AsyncDisposable {
  readonly size: number
  /** The file behind it, if there is one: workers read that instead of copying through here. */
  readonly path?: string | undefined
  /** Up to `length` bytes from `offset`; fewer only at the end. */
  read(offset: number, length: number): Promise<Uint8Array>
  /** Fills `buffer` from `offset`, less only at the end, for those who would copy otherwise. @returns how much came. */
  readInto?(offset: number, buffer: Uint8Array): Promise<number>
}

export interface WriterOptions {
  /** Names the upload; opening it again resumes it. */
  readonly ref: string
  /** Bytes that will come; 0 when not known. */
  readonly total?: number
  /** Digest of what will come; when it is already there, opening throws `already_exists`. */
  readonly expected?: string
  /** What it will be: told to those who hear that it has come, and not kept. */
  readonly mediaType?: string
}

export interface CommitOptions {
  /** Fail unless this many bytes were written; 0 for any. */
  readonly size?: number
  /** Fail unless the content has this digest; empty for any. */
  readonly expected?: string
  readonly labels?: Labels
}

/** An open upload. Disposing it closes it and keeps what was written, to be resumed. */
export interface Writer extends AsyncDisposable {
  /** The file that what is written goes to, in its order, until it is committed; undefined if there is none here. */
  readonly path?: string | undefined
  /** Appends. Not durable until `commit`. */
  write(ctx: Context, data: Uint8Array): Promise<void>
  /**
   * As `write`, for whoever has more to do meanwhile: resolves when `digest` and `status` count the bytes,
   * and `written` when they are where `write` puts them.
   */
  append?(ctx: Context, data: Uint8Array): Promise<{ readonly written: Promise<void> }>
  /** Digest of what was written so far. */
  digest(): string
  status(): Status
  /** Cuts the upload back to `size` bytes; only 0 must be supported. */
  truncate(ctx: Context, size: number): Promise<void>
  /**
   * Makes the content durable and visible under its digest, and ends the upload.
   *
   * @throws `failed_precondition` when size or digest differ; `already_exists` when it is there.
   */
  commit(ctx: Context, options: CommitOptions): Promise<void>
}

/**
 * The content-addressed store.
 *
 * Two of these stand on each other: the local store, which keeps blobs for everybody and has no
 * labels, and the metadata store before it, which gives each namespace its own view and labels.
 */
export interface Store extends AsyncDisposable {
  /** @throws `not_found`; `invalid_argument` for a bad digest. */
  info(ctx: Context, digest: string): Promise<Info>
  /** Changes labels: those of `paths` (`labels`, `labels.<key>`), or all. @throws `not_found`. */
  update(
    ctx: Context,
    info: Pick<Info, 'digest' | 'labels'>,
    paths: readonly string[],
  ): Promise<Info>
  list(ctx: Context, filters?: readonly string[]): AsyncIterable<Info>
  /** @throws `not_found`. */
  delete(ctx: Context, digest: string): Promise<void>
  /** @throws `not_found`. */
  reader(ctx: Context, digest: string): Promise<Reader>
  /** @throws `unavailable` while another writer has the ref; `already_exists` for known content. */
  writer(ctx: Context, options: WriterOptions): Promise<Writer>
  /** @throws `not_found`. */
  status(ctx: Context, ref: string): Promise<Status>
  listStatuses(ctx: Context, filters?: readonly string[]): Promise<readonly Status[]>
  /** Throws an upload away. @throws `not_found`. */
  abort(ctx: Context, ref: string): Promise<void>
}
