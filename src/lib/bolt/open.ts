import * as fs from 'node:fs'
import { open as openHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { CodedError } from '#lib/errors/errors.ts'

import { BoltDatabase } from './bolt.ts'
import { create } from './create.ts'
import type { Database, OpenOptions } from './database.ts'
import { type BoltFile, FdFile } from './file.ts'
import { readState } from './metas.ts'
import { Store } from './store.ts'

/** Long enough for a burst to share a flush, short enough for the event loop. */
const defaultGatherMs = 2

/** Bytes of pages kept in memory when the options do not say. */
const defaultCacheBytes = 64 * 1024 * 1024

const lockPoll = 50

/**
 * Opens a bbolt file, and creates it when it is missing.
 *
 * @throws `failed_precondition` when another process holds the lock for longer than asked,
 * `data_loss` when the file is no database; system errors as they are.
 */
export async function openDatabase(path: string, options: OpenOptions = {}): Promise<Database> {
  options.signal?.throwIfAborted()
  const readOnly = options.readOnly ?? false
  const fd = await openLocked(path, options)
  try {
    const durable = !readOnly && options.noSync !== true
    return await openFile(
      new FdFile(fd, path),
      options,
      durable ? [syncDirectory(dirname(path))] : [],
    )
  } catch (err) {
    fs.closeSync(fd)
    throw err
  }
}

/** Opens and locks the file that is at `path` once it is locked: a repair may have replaced it. */
async function openLocked(path: string, options: OpenOptions): Promise<number> {
  const { O_RDONLY, O_RDWR, O_CREAT } = fs.constants
  for (;;) {
    const flags = options.readOnly === true ? O_RDONLY : O_RDWR | O_CREAT
    const fd = fs.openSync(path, flags, options.mode ?? 0o600)
    try {
      await lockFile(fd, path, options)
      if (isAt(fd, path)) return fd
    } catch (err) {
      fs.closeSync(fd)
      throw err
    }
    fs.closeSync(fd)
  }
}

/** Whether the open file is the one that `path` names. */
function isAt(fd: number, path: string): boolean {
  const [open, named] = [fs.fstatSync(fd), fs.statSync(path, { throwIfNoEntry: false })]
  return open.ino === named?.ino && open.dev === named.dev
}

/**
 * Opens the database in `file`, which is locked and which it owns from then on.
 *
 * What a killed process wrote may be in memory only. It may be read as it is, but before anything is
 * built upon it, it has to be on disk: the first update waits for that, and for `settling`.
 */
export async function openFile(
  file: BoltFile,
  options: OpenOptions,
  settling: readonly Promise<void>[] = [],
): Promise<Database> {
  const readOnly = options.readOnly ?? false
  const noSync = options.noSync ?? false
  const tasks = [allOf(settling)]
  let state = readState(file)
  if (state === undefined && !readOnly) {
    await create(file, !noSync)
    state = readState(file)
  } else if (!readOnly && !noSync) {
    tasks.push(file.sync(false))
  }
  const settled = allOf(tasks)
  if (state === undefined)
    throw new CodedError('data_loss', `database ${JSON.stringify(file.path)} is not valid`)
  const store = new Store(file, state, {
    cacheBytes: options.cacheBytes ?? defaultCacheBytes,
    noSync,
    keepRoom: options.keepRoom ?? false,
  })
  return new BoltDatabase(file, store, {
    readOnly,
    gatherMs: options.gatherMs ?? defaultGatherMs,
    settled,
  })
}

async function lockFile(fd: number, path: string, options: OpenOptions): Promise<void> {
  const { lock, lockTimeoutMs = 0, signal, readOnly = false } = options
  if (lock === undefined) return
  const end = lockTimeoutMs > 0 ? performance.now() + lockTimeoutMs : Infinity
  while (!lock(fd, !readOnly)) {
    const left = end - performance.now()
    if (left <= 0) throw locked(path)
    await sleep(Math.min(lockPoll, left), undefined, { signal }).catch((err: unknown) => {
      throw locked(path, err)
    })
  }
}

const locked = (path: string, cause?: unknown) =>
  new CodedError(
    'failed_precondition',
    `database ${JSON.stringify(path)} is locked by another process ` +
      '(is another containerd or wharfd using this root?)',
    { cause },
  )

/** As `Promise.all`; that one has failed is said to those who wait, and only to them. */
function allOf(tasks: readonly Promise<unknown>[]): Promise<unknown> {
  const all = Promise.all(tasks)
  all.catch(() => {})
  return all
}

async function syncDirectory(path: string): Promise<void> {
  const { O_RDONLY, O_DIRECTORY } = fs.constants
  await using directory = await openHandle(path, O_RDONLY | O_DIRECTORY)
  await directory.sync()
}
