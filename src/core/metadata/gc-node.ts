import { schemaVersion } from './schema.ts'

/** What the collector can remove. Containers stay until they are deleted: they are roots. */
export type Collectable = 'content' | 'image' | 'ingest' | 'lease' | 'snapshot'

/** One object, as the collector sees it. */
export interface Node {
  readonly type: Collectable | 'container'
  readonly ns: string
  /** Name of the object; `<snapshotter>/<key>` for a snapshot. */
  readonly key: string
  /** Held by a lease that holds only what it lists: what this one refers to is not followed. */
  readonly flat: boolean
}

/** Names an object; flat or not is the same object. */
export const nodeId = ({ type, ns, key }: Node): string => `${type}\0${ns}\0${key}`

export const node = (type: Node['type'], ns: string, key: string, flat = false): Node => ({
  type,
  ns,
  key,
  flat,
})

export const snapshotNode = (ns: string, snapshotter: string, key: string, flat = false): Node =>
  node('snapshot', ns, `${snapshotter}/${key}`, flat)

/** A snapshot's key back in its two parts. */
export function splitSnapshotKey(key: string): [snapshotter: string, key: string] {
  const slash = key.indexOf('/')
  return [key.slice(0, slash), key.slice(slash + 1)]
}

/** Where the record of an object is. */
export const recordPath = ({ type, ns, key }: Node): string[] => [
  schemaVersion,
  ns,
  ...pathOf[type],
  ...(type === 'snapshot' ? splitSnapshotKey(key) : [key]),
]

/** Where in a namespace the records of each kind are. */
const pathOf: Readonly<Record<Node['type'], readonly string[]>> = {
  content: ['content', 'blob'],
  ingest: ['content', 'ingests'],
  snapshot: ['snapshots'],
  container: ['containers'],
  image: ['images'],
  lease: ['leases'],
}
