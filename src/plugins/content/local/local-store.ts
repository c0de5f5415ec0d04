import * as fs from 'node:fs'
import { type FileHandle, open, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

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
  unavailable,
} from '#lib/errors/errors.ts'
import { parseFilters } from '#lib/filters/filters.ts'
import { fullDisk } from '#lib/fs/full-disk.ts'

import { BlobDirs, syncDirIfAny } from './blob-dirs.ts'
import { isMissing } from './errno.ts'
import { hashFile } from './hash-file.ts'
import { createIngest, readIngest } from './ingest.ts'
import { Integrity } from './integrity.ts'
import {
  blobPath,
  blobsDir,
  ingestDir,
  type IngestPaths,
  ingestPaths,
  ingestPathsIn,
} from './layout.ts'
import { removeBrokenIngests } from './leftovers.ts'
import { LocalReader } from './reader.ts'
import { RefLocks } from './ref-locks.ts'
import { exists, LocalWriter } from './writer.ts'

/** How many files are looked at together. */
const batch = 16

/**
 * Keeps blobs as files for everybody who asks; names, labels and namespaces are kept above it.
 *
 * Any number may read, one at a time writes to a ref. An upload survives a restart.
 */
export class LocalStore implements Store {
  readonly #root: string
  readonly #locks = new RefLocks()
  readonly #dirs = new BlobDirs()
  readonly #integrity: Integrity
  #tidied: Promise<void> | undefined

  private constructor(root: string) {
    this.#root = root
    this.#integrity = new Integrity(root)
  }

  /** Opens the store in `root`, which is made when it is missing. */
  static open(ctx: Context, root: string): LocalStore {
    ctx.signal.throwIfAborted()
    fs.mkdirSync(root, { recursive: true, mode: 0o755 })
    fs.mkdirSync(ingestDir(root), { recursive: true })
    // A daemon that was killed may have named a blob and not made that durable yet.
    for (const algorithm of algorithms) syncDirIfAny(join(blobsDir(root), algorithm))
    return new LocalStore(root)
  }

  async info(ctx: Context, digest: string): Promise<Info> {
    ctx.signal.throwIfAborted()
    const info = await this.#find(digest, 'calculating blob info path')
    if (!info) throw notFound(`content ${digest}`)
    return info
  }

  update(): Promise<Info> {
    return Promise.reject(failedPrecondition('update not supported on immutable content store'))
  }

  async *list(ctx: Context, filters?: readonly string[]): AsyncGenerator<Info, void, undefined> {
    const matches = parseFilters(filters)
    for await (const digests of this.#digests(ctx)) {
      ctx.signal.throwIfAborted()
      const infos = digests.map(async (digest) => await this.#find(digest, 'walk'))
      for (const info of await Promise.all(infos)) if (info && matches(adaptInfo(info))) yield info
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
    return await Promise.try(() => LocalReader.open(digest, path))
  }

  async writer(ctx: Context, options: WriterOptions): Promise<LocalWriter> {
    ctx.signal.throwIfAborted()
    if (options.ref === '') throw invalidArgument('ref must not be empty')
    await this.#tidy(ctx)
    using undo = new DisposableStack()
    const lock = undo.use(this.#locks.lock(options.ref))
    const writer = await this.#openWriter(ctx, options, lock)
    undo.move()
    return writer
  }

  async status(ctx: Context, ref: string): Promise<Status> {
    ctx.signal.throwIfAborted()
    return await readIngest(ingestPaths(this.#root, ref))
  }

  async listStatuses(ctx: Context, filters?: readonly string[]): Promise<readonly Status[]> {
    const matches = parseFilters(filters)
    await this.#tidy(ctx)
    const found: Status[] = []
    for (const names of batches(await list(ingestDir(this.#root)))) {
      ctx.signal.throwIfAborted()
      const read = names.map(
        async (name) =>
          await readIngest(ingestPathsIn(join(ingestDir(this.#root), name))).catch(unlessFound),
      )
      for (const status of await Promise.all(read)) {
        if (status && matches(adaptStatus(status))) found.push(status)
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

  /**
   * Before anybody looks at uploads: what a killed daemon left of them. Not done at the start, when
   * another daemon may still have this root.
   */
  async #tidy(ctx: Context): Promise<void> {
    this.#tidied ??= removeBrokenIngests(ctx, ingestDir(this.#root))
    await this.#tidied
  }

  async #openWriter(
    ctx: Context,
    { ref, total = 0, expected = '' }: WriterOptions,
    lock: Disposable,
  ): Promise<LocalWriter> {
    const root = this.#root
    if (expected !== '') {
      const path = blobPath(root, expected, 'calculating expected blob path for writer')
      if (await exists(path)) throw alreadyExists(`content ${expected}`)
    }
    const algorithm = expected.slice(0, expected.indexOf(':'))
    const paths = ingestPaths(root, ref)
    const hasher = newHasher(isAlgorithm(algorithm) ? algorithm : 'sha256')
    const ingest =
      (await start(paths, { ref, total })) ??
      (await resume(ctx, paths, { ref, total, hasher })) ??
      (await restart(paths, { ref, total }))
    // A resumption that failed may have hashed something.
    const untouched = ingest.status.offset === 0 ? newHasher(hasher.algorithm) : hasher
    const shared = { root, dirs: this.#dirs, integrity: this.#integrity }
    return new LocalWriter({ ...shared, paths, ...ingest, hasher: untouched, lock })
  }

  async #find(digest: string, purpose: string): Promise<Info | undefined> {
    try {
      const { size, mtime, atime } = await stat(blobPath(this.#root, digest, purpose))
      return { digest, size, createdAt: mtime, updatedAt: atime, labels: {} }
    } catch (err) {
      if (isMissing(err)) return undefined
      throw err
    }
  }

  /** Digests of all blobs there are, by name; files that are no blobs are passed over. */
  async *#digests(ctx: Context): AsyncIterable<readonly string[]> {
    for (const algorithm of algorithms) {
      const dir = join(blobsDir(this.#root), algorithm)
      for (const names of batches((await list(dir)).toSorted())) {
        const digests = names.map((name) => `${algorithm}:${name}`)
        yield digests.filter((digest) => {
          const fault = digestFault(digest)
          if (fault !== undefined) ctx.log.error('invalid digest for blob path', { dir, digest })
          return fault === undefined
        })
      }
    }
  }
}

/** What a writer starts from. */
interface Ingest {
  readonly status: Status
  readonly file: FileHandle
}

/** Goes on with the upload that is there; undefined when there is none that can be gone on with. */
async function resume(
  ctx: Context,
  paths: IngestPaths,
  { ref, total, hasher }: { readonly ref: string; readonly total: number; readonly hasher: Hasher },
): Promise<Ingest | undefined> {
  await using undo = new AsyncDisposableStack()
  try {
    const status = await readIngest(paths)
    if (status.ref !== ref) throw new Error(`ref key does not match: ${ref} != ${status.ref}`)
    const { offset: there } = status
    if (total > 0 && there > total) throw new Error(`${there} bytes are there of ${total}`)
    const file = undo.use(await open(paths.data, 'r+'))
    const offset = await hashFile(file, hasher, ctx.signal)
    // What has come is worth more than what was said of its size.
    const size = total > 0 ? total : status.total
    if (size !== status.total) await writeFile(paths.total, String(size))
    undo.move()
    return { status: { ...status, offset, total: size }, file }
  } catch (err) {
    ctx.signal.throwIfAborted()
    ctx.log.info('failed to resume an upload, it begins anew', {
      path: paths.dir,
      error: describe(err),
    })
    return undefined
  }
}

/** Begins an upload; undefined when there is one already. */
async function start(
  paths: IngestPaths,
  { ref, total }: { readonly ref: string; readonly total: number },
): Promise<Ingest | undefined> {
  const now = new Date()
  try {
    if (!(await createIngest(paths, { ref, total, now }))) return undefined
    const file = await open(paths.data, 'w+')
    return { status: { ref, offset: 0, total, expected: '', startedAt: now, updatedAt: now }, file }
  } catch (err) {
    await rm(paths.dir, { recursive: true, force: true }).catch(() => {}) // Tidied up later, then.
    throw fullDisk(err, paths.dir)
  }
}

/** Begins an upload in place of what is there. */
async function restart(
  paths: IngestPaths,
  options: { readonly ref: string; readonly total: number },
): Promise<Ingest> {
  await rm(paths.dir, { recursive: true, force: true })
  const started = await start(paths, options)
  if (started) return started
  throw unavailable(`ref ${options.ref} is in use by another process`)
}

function* batches<T>(items: readonly T[]): Iterable<readonly T[]> {
  for (let at = 0; at < items.length; at += batch) yield items.slice(at, at + batch)
}

/** For what was committed, aborted or deleted while it was listed. */
function unlessFound(err: unknown): undefined {
  if (!hasCode(err, 'not_found')) throw err
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
