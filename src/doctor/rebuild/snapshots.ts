import { validateIdentifier } from '#core/identifiers/identifiers.ts'
import { backendName, make, snapshotsOf } from '#core/metadata/schema.ts'
import { writeSnapshot } from '#core/metadata/snapshot-record.ts'
import type { StoredSnapshot } from '#core/snapshots/storage/storage.ts'
import type { Bucket } from '#lib/bolt/database.ts'

import { type Backend, chainOf } from '#doctor/backend.ts'

/*
 * A snapshotter knows more than its daemon tells it: the name that a snapshot has there is
 * `<namespace>/<sequence>/<key>`, and so is that of its parent. That is all that a record of it has,
 * but for labels that are the client's own.
 */

/** A snapshot, with what its name in the backend says. */
export interface NamedSnapshot {
  readonly namespace: string
  readonly snapshotter: string
  readonly key: string
  readonly sequence: bigint
  readonly snapshot: StoredSnapshot
}

/** The snapshots of a backend by namespace and key; of two with one key the later, which replaced the other. */
export function namedSnapshots(backend: Backend): readonly NamedSnapshot[] {
  const newest = new Map<string, NamedSnapshot>()
  for (const snapshot of backend.byName.values()) {
    const named = parseName(backend.place.name, snapshot)
    if (!named) continue
    const id = `${named.namespace}\0${named.key}`
    const other = newest.get(id)
    if (!other || other.sequence < named.sequence) newest.set(id, named)
  }
  // A parent comes before what stands on it, because that needs its record.
  const depth = (each: NamedSnapshot): number => chainOf(backend, each.snapshot.info.name).length
  return [...newest.values()].toSorted((a, b) => depth(a) - depth(b))
}

/** Undefined for one that no daemon has made. */
function parseName(snapshotter: string, snapshot: StoredSnapshot): NamedSnapshot | undefined {
  const parts = keyIn(snapshot.info.name)
  return parts && { ...parts, snapshotter, snapshot }
}

function keyIn(name: string): Pick<NamedSnapshot, 'namespace' | 'sequence' | 'key'> | undefined {
  const [, namespace = '', number = '', key = ''] = /^([^/]+)\/(\d{1,19})\/(.+)$/s.exec(name) ?? []
  try {
    validateIdentifier(namespace)
  } catch {
    return undefined
  }
  return { namespace, sequence: BigInt(number), key }
}

/** Records `snapshots`, in their order. @returns those that have nothing on top of them. */
export function writeSnapshots(
  tx: Bucket,
  snapshots: readonly NamedSnapshot[],
): readonly NamedSnapshot[] {
  const written = new Map<string, NamedSnapshot>()
  const parents = new Set<string>()
  for (const each of snapshots) {
    const { namespace, snapshotter, key, sequence, snapshot } = each
    const parent = snapshot.info.parent === '' ? '' : keyIn(snapshot.info.parent)?.key
    // What stands on nothing cannot be mounted.
    if (parent === undefined || (parent !== '' && !written.has(idOf(each, parent)))) continue
    const bucket = make(tx, snapshotsOf(namespace, snapshotter))
    const { labels, createdAt, updatedAt } = snapshot.info
    const name = backendName(namespace, sequence, key)
    writeSnapshot(bucket, { key, name, parent, labels, createdAt, updatedAt })
    if (bucket.sequence < sequence) bucket.setSequence(sequence)
    written.set(idOf(each, key), each)
    if (parent !== '') parents.add(idOf(each, parent))
  }
  return [...written].filter(([id]) => !parents.has(id)).map(([, each]) => each)
}

const idOf = ({ namespace, snapshotter }: NamedSnapshot, key: string): string =>
  [namespace, snapshotter, key].join('\0')
