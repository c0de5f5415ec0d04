import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

import type { Database } from '#lib/bolt/database.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { describe, failedPrecondition, hasCode } from '#lib/errors/errors.ts'
import { tryLock } from '#sys/flock.ts'

import { type Backend, readBackend, snapshotsDirectory } from './backend.ts'
import type { Findings, NewFinding } from './findings.ts'
import type { Places, SnapshotterPlace } from './places.ts'

/** How long a daemon that is just ending may take to let go of a file, in ms. */
const lockTimeoutMs = 1000

export interface OpenOptions {
  readonly signal: AbortSignal
  readonly repair: boolean
  readonly findings: Findings
}

/** The databases of a store, with the locks that a daemon takes; closed when disposed of. */
export interface Databases extends AsyncDisposable {
  /** `meta.db`; undefined when it is missing or no database. */
  readonly metadata: Database | undefined
  readonly backends: readonly Backend[]
}

/**
 * Opens what there is. To look takes a shared lock, to repair an exclusive one: no daemon starts
 * meanwhile, and a file that a daemon has is refused.
 *
 * @throws `failed_precondition` when a daemon runs on this root.
 */
export async function openDatabases(places: Places, options: OpenOptions): Promise<Databases> {
  await using opened = new AsyncDisposableStack()
  if (!existsSync(places.metadata)) options.findings.add(missingDatabase(places.metadata))
  const metadata = await open(places.metadata, options, opened)
  const backends: Backend[] = []
  for (const place of places.snapshotters) {
    const database = await openBackend(place, options, opened)
    if (database) backends.push(readBackend(place, database))
  }
  const held = opened.move()
  return { metadata, backends, [Symbol.asyncDispose]: async () => await held.disposeAsync() }
}

async function openBackend(
  place: SnapshotterPlace,
  options: OpenOptions,
  opened: AsyncDisposableStack,
): Promise<Database | undefined> {
  const path = join(place.root, 'metadata.db')
  // containerd makes the file with the first snapshot.
  const used =
    existsSync(snapshotsDirectory(place)) && readdirSync(snapshotsDirectory(place)).length > 0
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
  { signal, repair, findings }: OpenOptions,
  opened: AsyncDisposableStack,
): Promise<Database | undefined> {
  if (!existsSync(path)) return undefined
  try {
    const database = await openDatabase(path, {
      signal,
      readOnly: !repair,
      lock: tryLock,
      lockTimeoutMs,
    })
    return opened.use(database)
  } catch (err) {
    signal.throwIfAborted()
    if (hasCode(err, 'failed_precondition')) throw running(path, err)
    findings.add({
      kind: 'database-damaged',
      level: 'error',
      what: `${path} cannot be opened: ${describe(err)}`,
      where: path,
      consequence: 'no daemon works with it, and nobody knows what there was',
      advice: `wharf doctor db ${path} looks at every page of the file`,
    })
    return undefined
  }
}

const running = (path: string, cause: unknown): Error =>
  failedPrecondition(
    `a daemon runs on this root and has ${path} locked: stop it first; containers may go on running`,
    { cause },
  )
