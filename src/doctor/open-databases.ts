import { existsSync } from 'node:fs'
import { join } from 'node:path'

import type { Database } from '#lib/bolt/database.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { describe, failedPrecondition, hasCode } from '#lib/errors/errors.ts'
import { tryLock } from '#sys/flock.ts'

import { type Backend, readBackend } from './backend.ts'
import type { Findings } from './findings.ts'
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
  const metadata = await open(places.metadata, options, opened, 'every image and container')
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
  // A snapshotter that was never used has no directory.
  if (!existsSync(place.root)) return undefined
  return await open(join(place.root, 'metadata.db'), options, opened, `snapshots of ${place.name}`)
}

async function open(
  path: string,
  { signal, repair, findings }: OpenOptions,
  opened: AsyncDisposableStack,
  what: string,
): Promise<Database | undefined> {
  if (!existsSync(path)) {
    findings.add({
      kind: 'database-missing',
      level: 'error',
      what: `${path} is missing`,
      where: path,
      consequence: `${what} is unknown to a daemon that starts, and it makes an empty file`,
      advice:
        'put a copy of the file there before a daemon starts; what is on disk stays until then',
    })
    return undefined
  }
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
      consequence: `no daemon starts with it, and ${what} is unknown`,
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
