import * as fs from 'node:fs'
import { type FileHandle, open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'

import { adaptInfo, adaptStatus } from '#core/content/adapt.ts'
import type { Info, Status, Store, WriterOptions } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import { algorithms, digestFault, type Hasher, isAlgorithm, newHasher } from '#lib/digest/digest.ts'
import {
  alreadyExists,
  describe,
  failedPrecondition,
  hasCode,
  invalidArgument,
  notFound,
} from '#lib/errors/errors.ts'
import { parseFilters } from '#lib/filters/filters.ts'

import { fullDisk, isMissing } from './errno.ts'
import { hashFile } from './hash-file.ts'
import { createIngest, readIngest } from './ingest.ts'
import {
  blobPath,
  blobsDir,
  ingestDir,
  type IngestPaths,
  ingestPaths,
  ingestPathsIn,
} from './layout.ts'
import { LocalReader } from './reader.ts'
import { RefLocks } from './ref-locks.ts'
import { LocalWriter } from './writer.ts'

/** Entries listed before others get their turn. */
const batch = 64

/**
 * Keeps blobs as files for everybody who asks; names, labels and namespaces are kept above it.
 *
 * Any number may read, one at a time writes to a ref. An upload survives a restart.
 */
export class LocalStore implements Store {
  readonly #root: string
  readonly #locks = new RefLocks()

  private constructor(root: string) {
    this.#root = root
  }

  /** Opens the store in `root`, which is made when it is missing. */
  static open(ctx: Context, root: string): LocalStore {
    ctx.signal.throwIfAborted()
    fs.mkdirSync(root, { recursive: true, mode: 0o755 })
    return new LocalStore(root)
  }

  // oxlint-disable-next-line typescript/require-await -- a thrown error has to be a rejection
  async info(ctx: Context, digest: string): Promise<Info> {
    ctx.signal.throwIfAborted()
    const path = blobPath(this.#root, digest, 'calculating blob info path')
    return toInfo(digest, fs.statSync(path, { throwIfNoEntry: false }))
  }

  update(): Promise<Info> {
    return Promise.reject(failedPrecondition('update not supported on immutable content store'))
  }

  async *list(ctx: Context, filters?: readonly string[]): AsyncGenerator<Info, void, undefined> {
    const matches = parseFilters(filters)
    let listed = 0
    for await (const digest of this.#digests(ctx)) {
      if (++listed % batch === 0) await nextTurn()
      ctx.signal.throwIfAborted()
      const stat = fs.statSync(blobPath(this.#root, digest, 'walk'), { throwIfNoEntry: false })
      if (!stat) continue // Deleted meanwhile.
      const info = toInfo(digest, stat)
      if (matches(adaptInfo(info))) yield info
    }
  }

  async delete(ctx: Context, digest: string): Promise<void> {
    ctx.signal.throwIfAborted()
    const path = blobPath(this.#root, digest, 'calculating blob path for delete')
    try {
      await rm(path)
    } catch (err) {
      if (!isMissing(err)) throw err
      throw notFound(`content ${digest}`, { cause: err })
    }
  }

  async reader(ctx: Context, digest: string): Promise<LocalReader> {
    ctx.signal.throwIfAborted()
    const path = blobPath(this.#root, digest, 'calculating blob path for ReaderAt')
    return await LocalReader.open(digest, path)
  }

  async writer(ctx: Context, options: WriterOptions): Promise<LocalWriter> {
    ctx.signal.throwIfAborted()
    if (options.ref === '') throw invalidArgument('ref must not be empty')
    using undo = new DisposableStack()
    const lock = undo.use(this.#locks.lock(options.ref))
    const writer = await this.#openWriter(ctx, options, lock)
    undo.move()
    return writer
  }

  // oxlint-disable-next-line typescript/require-await -- a thrown error has to be a rejection
  async status(ctx: Context, ref: string): Promise<Status> {
    ctx.signal.throwIfAborted()
    return readIngest(ingestPaths(this.#root, ref))
  }

  async listStatuses(ctx: Context, filters?: readonly string[]): Promise<readonly Status[]> {
    const matches = parseFilters(filters)
    const found: Status[] = []
    for (const [at, name] of (await list(ingestDir(this.#root))).entries()) {
      if (at % batch === 0) await nextTurn()
      ctx.signal.throwIfAborted()
      try {
        const status = readIngest(ingestPathsIn(join(ingestDir(this.#root), name)))
        if (matches(adaptStatus(status))) found.push(status)
      } catch (err) {
        // Committed or aborted meanwhile.
        if (!hasCode(err, 'not_found')) throw err
      }
    }
    return found
  }

  async abort(ctx: Context, ref: string): Promise<void> {
    ctx.signal.throwIfAborted()
    const { dir } = ingestPaths(this.#root, ref)
    try {
      await rm(dir, { recursive: true })
    } catch (err) {
      if (!isMissing(err)) throw err
      throw notFound(`ingest ref ${JSON.stringify(ref)}`, { cause: err })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #openWriter(
    ctx: Context,
    { ref, total = 0, expected = '' }: WriterOptions,
    lock: Disposable,
  ): Promise<LocalWriter> {
    const root = this.#root
    if (expected !== '') {
      const path = blobPath(root, expected, 'calculating expected blob path for writer')
      if (fs.existsSync(path)) throw alreadyExists(`content ${expected}`)
    }
    const algorithm = expected.slice(0, expected.indexOf(':'))
    const paths = ingestPaths(root, ref)
    let hasher = newHasher(isAlgorithm(algorithm) ? algorithm : 'sha256')
    let resumed = await resume(ctx, paths, { ref, total, hasher })
    if (!resumed) {
      hasher = newHasher(hasher.algorithm)
      resumed = await start(root, paths, ref, total)
    }
    return new LocalWriter({ root, paths, ...resumed, hasher, lock })
  }

  /** Digests of all blobs there are, by name; files that are no blobs are passed over. */
  async *#digests(ctx: Context): AsyncIterable<string> {
    const root = blobsDir(this.#root)
    for (const algorithm of algorithms) {
      for (const name of (await list(join(root, algorithm))).toSorted()) {
        const digest = `${algorithm}:${name}`
        if (digestFault(digest) === undefined) yield digest
        else ctx.log.error('invalid digest for blob path', { path: join(root, algorithm, name) })
      }
    }
  }
}

/** Goes on with the upload that is there; undefined when there is none that can be gone on with. */
async function resume(
  ctx: Context,
  paths: IngestPaths,
  { ref, total, hasher }: { readonly ref: string; readonly total: number; readonly hasher: Hasher },
): Promise<{ readonly status: Status; readonly file: FileHandle } | undefined> {
  if (!fs.existsSync(paths.dir)) return undefined
  await using undo = new AsyncDisposableStack()
  try {
    const status = readIngest(paths)
    if (status.ref !== ref) throw new Error(`ref key does not match: ${ref} != ${status.ref}`)
    if (total > 0 && status.total > 0 && total !== status.total) {
      throw new Error(`provided total differs from status: ${total} != ${status.total}`)
    }
    const file = undo.use(await open(paths.data, 'r+'))
    const offset = await hashFile(file, hasher, ctx.signal)
    undo.move()
    return { status: { ...status, offset }, file }
  } catch (err) {
    ctx.signal.throwIfAborted()
    ctx.log.info('failed to resume an upload, it begins anew', {
      path: paths.dir,
      error: describe(err),
    })
    return undefined
  }
}

async function start(
  root: string,
  paths: IngestPaths,
  ref: string,
  total: number,
): Promise<{ readonly status: Status; readonly file: FileHandle }> {
  const now = new Date()
  try {
    fs.mkdirSync(ingestDir(root), { recursive: true })
    createIngest(paths, ref, total, now)
    const file = await open(paths.data, 'w+')
    return { status: { ref, offset: 0, total, expected: '', startedAt: now, updatedAt: now }, file }
  } catch (err) {
    throw fullDisk(err, paths.dir)
  }
}

function toInfo(digest: string, stat: fs.Stats | undefined): Info {
  if (!stat) throw notFound(`content ${digest}`)
  return { digest, size: stat.size, createdAt: stat.mtime, updatedAt: stat.atime, labels: {} }
}

/** The names in a directory; none when it is missing. */
async function list(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir)
  } catch (err) {
    if (isMissing(err)) return []
    throw err
  }
}
