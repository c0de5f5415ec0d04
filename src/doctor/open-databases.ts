import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Database } from '#lib/bolt/database.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { describe, failedPrecondition, hasCode } from '#lib/errors/errors.ts'
import { tryLock } from '#sys/flock.ts'

import { type Backend, readBackend, snapshotsDirectory } from './backend.ts'
import { type HeldFile, holdFile } from './database.ts'
import type { Findings, NewFinding } from './findings.ts'
import type { Places, SnapshotterPlace } from './places.ts'
import { checkPages } from './repair/pages.ts'

/** How long a daemon that is just ending may take to let go of a file, in ms. */
const lockTimeoutMs = 1000
const lockPollMs = 50

export interface OpenOptions {
  readonly signal: AbortSignal
  readonly repair: boolean
  /** Do not look at every page. */
  readonly quick: boolean
  readonly findings: Findings
}

/** A database that could be opened. */
export interface Opened {
  readonly database: Database
  /** Whether no page of it is damaged, and none was lost when it was written anew. */
  readonly whole: boolean
}

/** The databases of a store, with the locks that a daemon takes; closed when disposed of. */
export interface Databases extends AsyncDisposable {
  /** `meta.db`; undefined when it is missing or no database. */
  readonly metadata: Opened | undefined
  readonly backends: readonly Backend[]
}

/**
 * Opens what there is. To look takes a shared lock, to repair an exclusive one: no daemon starts
 * meanwhile, and a file that a daemon has is refused. A damaged file is written anew when repairing:
 * without it there is nothing to compare the rest with.
 *
 * @throws `failed_precondition` when a daemon runs on this root.
 */
export async function openDatabases(places: Places, options: OpenOptions): Promise<Databases> {
  await using opened = new AsyncDisposableStack()
  const metadata = await open(places.metadata, options, opened)
  const backends: Backend[] = []
  for (const place of places.snapshotters) {
    const backend = await openBackend(place, options, opened)
    if (backend) backends.push(readBackend(place, backend))
  }
  const held = opened.move()
  return { metadata, backends, [Symbol.asyncDispose]: async () => await held.disposeAsync() }
}

async function openBackend(
  place: SnapshotterPlace,
  options: OpenOptions,
  opened: AsyncDisposableStack,
): Promise<Opened | undefined> {
  const path = join(place.root, 'metadata.db')
  const directory = snapshotsDirectory(place)
  // containerd makes the file with the first snapshot.
  const used = existsSync(directory) && readdirSync(directory).length > 0
  if (used && !existsSync(path)) options.findings.add(missingDatabase(path))
  return await open(path, options, opened)
}

/** That a database is not there, and should be. */
export const missingDatabase = (path: string): NewFinding => ({
  kind: 'database-missing',
  level: 'error',
  what: `${path} is missing`,
  where: path,
  consequence: 'a daemon that starts makes an empty file, and knows nothing of what there was',
  advice: 'put a copy of the file there before a daemon starts; what is on disk stays until then',
})

async function open(
  path: string,
  options: OpenOptions,
  opened: AsyncDisposableStack,
): Promise<Opened | undefined> {
  if (!existsSync(path)) return undefined
  const { signal, repair, quick, findings } = options
  try {
    const whole = quick || (await isWhole(path, options))
    const database = await openDatabase(path, {
      signal,
      readOnly: !repair,
      lock: tryLock,
      lockTimeoutMs,
    })
    return { database: opened.use(database), whole }
  } catch (err) {
    signal.throwIfAborted()
    if (hasCode(err, 'failed_precondition')) throw running(path, err)
    if (!hasCode(err, 'data_loss')) throw err
    // Its pages have been looked at, and this was said.
    if (quick) findings.add(cannotOpen(path, err))
    return undefined
  }
}

async function isWhole(path: string, options: OpenOptions): Promise<boolean> {
  using held = await hold(path, options)
  return await checkPages(held.file, options)
}

/** Waits for a daemon that is just ending. */
async function hold(path: string, { signal, repair }: OpenOptions): Promise<HeldFile> {
  const end = performance.now() + lockTimeoutMs
  for (;;) {
    try {
      return holdFile(path, repair)
    } catch (err) {
      if (!hasCode(err, 'failed_precondition') || performance.now() > end) throw err
      await sleep(lockPollMs, undefined, { signal })
    }
  }
}

const cannotOpen = (path: string, err: unknown): NewFinding => ({
  kind: 'database-damaged',
  level: 'error',
  what: `${path} cannot be opened: ${describe(err)}`,
  where: path,
  consequence: 'no daemon works with it, and nobody knows what there was',
  advice: `wharf doctor db ${path} looks at every page of the file`,
})

const running = (path: string, cause: unknown): Error =>
  failedPrecondition(
    `a daemon runs on this root and has ${path} locked: stop it first; containers may go on running`,
    { cause },
  )
