import { access, type FileHandle, rename } from 'node:fs/promises'
import { dirname } from 'node:path'

import type { CommitOptions, Status, Writer } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import { type Hasher, isAlgorithm, newHasher } from '#lib/digest/digest.ts'
import { alreadyExists, CodedError, failedPrecondition } from '#lib/errors/errors.ts'
import { fullDisk } from '#lib/fs/full-disk.ts'
import { WriteBehindBeside } from '#sys/write-behind.ts'

import type { BlobDirs } from './blob-dirs.ts'
import { isMissing } from './errno.ts'
import { hashBytes, hashFile } from './hash-file.ts'
import { removeIngest, writeUpdatedAt } from './ingest.ts'
import type { Integrity } from './integrity.ts'
import { blobPath, type IngestPaths } from './layout.ts'

/** What an upload starts from. */
export interface WriterState {
  readonly root: string
  readonly dirs: BlobDirs
  readonly integrity: Integrity
  readonly paths: IngestPaths
  readonly status: Status
  /** The data file, open for reading and writing. */
  readonly file: FileHandle
  /** Of the bytes that are already there. */
  readonly hasher: Hasher
  /** Frees the ref for others. */
  readonly lock: Disposable
}

/** An upload into the local store. Bytes go to disk as they come, and are hashed beside that. */
export class LocalWriter implements Writer {
  readonly #root: string
  readonly #dirs: BlobDirs
  readonly #integrity: Integrity
  readonly #paths: IngestPaths
  readonly #lock: Disposable
  #file: FileHandle | undefined
  #behind: WriteBehindBeside
  #hasher: Hasher
  #status: Status
  #dirty = false
  /** Bytes are hashed in their order, also when a write does not wait for the one before. */
  #hashed: Promise<void> = Promise.resolve()

  constructor({ root, dirs, integrity, paths, status, file, hasher, lock }: WriterState) {
    this.#root = root
    this.#dirs = dirs
    this.#integrity = integrity
    this.#paths = paths
    this.#status = status
    this.#file = file
    this.#behind = new WriteBehindBeside(file.fd, status.offset)
    this.#hasher = hasher
    this.#lock = lock
  }

  get path(): string {
    return this.#paths.data
  }

  status(): Status {
    return this.#status
  }

  digest(): string {
    return this.#hasher.digest()
  }

  async write(ctx: Context, data: Uint8Array): Promise<void> {
    const { written } = await this.append(ctx, data)
    await written
  }

  async append(ctx: Context, data: Uint8Array): Promise<{ readonly written: Promise<void> }> {
    ctx.signal.throwIfAborted()
    const file = this.#open('write')
    const { offset } = this.#status
    this.#dirty = true
    this.#status = { ...this.#status, offset: offset + data.length, updatedAt: new Date() }
    this.#hashed = this.#hashed.then(async () => await hashBytes(data, this.#hasher))
    const written = this.#written(ctx, this.#put(file, data, offset))
    // Whoever waits for it hears of it.
    written.catch(() => undefined)
    await this.#hashed
    return { written }
  }

  /** The hash is ahead of a file that could not be written: only a writer opened anew, which hashes it again, can go on. */
  async #written(ctx: Context, putting: Promise<void>): Promise<void> {
    try {
      await putting
    } catch (err) {
      await this[Symbol.asyncDispose]().catch((error: unknown) => {
        ctx.log.warn('failed to close an upload', { path: this.#paths.dir, error })
      })
      throw fullDisk(err, this.#paths.data)
    }
  }

  async truncate(ctx: Context, size: number): Promise<void> {
    ctx.signal.throwIfAborted()
    const file = this.#open('truncate')
    if (size > this.#status.offset) {
      throw new CodedError('out_of_range', `truncate to ${size} of ${this.#status.offset} bytes`)
    }
    await this.#behind.idle()
    await file.truncate(size)
    this.#behind = new WriteBehindBeside(file.fd, size)
    this.#hasher = newHasher(this.#hasher.algorithm)
    await hashFile(file, this.#hasher)
    this.#dirty = true
    this.#status = { ...this.#status, offset: size, updatedAt: new Date() }
  }

  async commit(ctx: Context, options: CommitOptions): Promise<void> {
    ctx.signal.throwIfAborted()
    const file = this.#open('commit')
    // Whatever comes of it, the upload is closed and its ref is free.
    this.#file = undefined
    using _ = this.#lock
    await this.#finish(file, options)
    const digest = this.#hasher.digest()
    const target = blobPath(this.#root, digest, 'calculating blob path for commit')
    await this.#place(ctx, target).catch((err: unknown) => {
      throw fullDisk(err, target)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const file = this.#file
    if (!file) return
    this.#file = undefined
    using _ = this.#lock
    await this.#behind.idle()
    try {
      if (this.#dirty) await file.sync()
    } finally {
      await file.close()
    }
    if (!this.#dirty) return
    await writeUpdatedAt(this.#paths, this.#status.updatedAt).catch((err: unknown) => {
      // Aborted meanwhile.
      if (!isMissing(err)) throw fullDisk(err, this.#paths.updatedAt)
    })
  }

  async #put(file: FileHandle, data: Uint8Array, offset: number): Promise<void> {
    await writeFully(file, data, offset)
    await this.#behind.grown(offset + data.length)
  }

  /** Checks the bytes, writes them to disk, read-only from then on, and closes the file. */
  async #finish(file: FileHandle, { size = 0, expected = '' }: CommitOptions): Promise<void> {
    await this.#behind.idle()
    try {
      const stat = await file.stat()
      if (size > 0 && size !== stat.size) {
        throw failedPrecondition(`unexpected commit size ${stat.size}, expected ${size}`)
      }
      await this.#rehash(file, expected)
      const digest = this.#hasher.digest()
      if (expected !== '' && expected !== digest) {
        throw failedPrecondition(`unexpected commit digest ${digest}, expected ${expected}`)
      }
      const now = new Date()
      await file.utimes(now, now)
      await file.chmod(stat.mode & 0o444)
      await file.sync()
    } catch (err) {
      throw fullDisk(err, this.#paths.data)
    } finally {
      await file.close()
    }
  }

  /** Gives the blob its name, durably. @throws `already_exists`. */
  async #place(ctx: Context, target: string): Promise<void> {
    const dir = await this.#dirs.open(dirname(target))
    if (await exists(target)) {
      await Promise.all([dir.sync(), this.#discard(ctx)])
      throw alreadyExists(`content ${this.#hasher.digest()}`)
    }
    await this.#integrity.guard(ctx, this.#paths.data)
    await rename(this.#paths.data, target)
    await Promise.all([dir.sync(), this.#discard(ctx)])
  }

  /** Hashes once more when the digest asked for is of another algorithm than the one begun with. */
  async #rehash(file: FileHandle, expected: string): Promise<void> {
    const algorithm = expected.slice(0, expected.indexOf(':'))
    if (!isAlgorithm(algorithm) || algorithm === this.#hasher.algorithm) return
    this.#hasher = newHasher(algorithm)
    await hashFile(file, this.#hasher)
  }

  #open(what: string): FileHandle {
    if (this.#file) return this.#file
    throw failedPrecondition(`cannot ${what} on closed writer`)
  }

  async #discard(ctx: Context): Promise<void> {
    try {
      await removeIngest(this.#paths)
    } catch (error) {
      ctx.log.error('failed to remove ingest directory', { path: this.#paths.dir, error })
    }
  }
}

/** Whether there is such a file. */
export const exists = async (path: string): Promise<boolean> =>
  await access(path).then(
    () => true,
    () => false,
  )

async function writeFully(file: FileHandle, data: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < data.length; ) {
    const { bytesWritten } = await file.write(data, done, data.length - done, offset + done)
    done += bytesWritten
  }
}
