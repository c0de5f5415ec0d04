import { schemaVersion } from './schema.ts'

/** What records there are of. Containers and sandboxes stay until they are deleted. */
export type RecordType =
  | 'container'
  | 'content'
  | 'image'
  | 'ingest'
  | 'lease'
  | 'sandbox'
  | 'snapshot'

/** One object, as the collector sees it. */
export interface Node {
  /** A {@link RecordType}, or the type of a collectible resource. */
  readonly type: string
  readonly ns: string
  /** Name of the object; `<snapshotter>/<key>` for a snapshot. */
  readonly key: string
  /** Held by a lease that holds only what it lists: what this one refers to is not followed. */
  readonly flat: boolean
}

/** Names an object; flat or not is the same object. */
export const nodeId = ({ type, ns, key }: Node): string => `${type}\0${ns}\0${key}`

export const node = (type: string, ns: string, key: string, flat = false): Node => ({
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

/** Whether there are records of this type. */
export const isRecordType = (type: string): type is RecordType => Object.hasOwn(pathOf, type)

/** Where the record of an object is; undefined for one that has none in the database. */
export function recordPath({ type, ns, key }: Node): string[] | undefined {
  if (!isRecordType(type)) return undefined
  const name = type === 'snapshot' ? splitSnapshotKey(key) : [key]
  return [schemaVersion, ns, ...pathOf[type], ...name]
}

/**
 * What is written by writing at `path`: the object whose record is there or above it, or what a lease
 * lists there. Undefined when that is nothing the collector looks at.
 */
export function nodeAt(path: readonly string[]): Node | undefined {
  const [, ns, kind, ...rest] = path
  if (ns === undefined) return undefined
  const [first, second, ...more] = rest
  if (kind === 'leases') {
    if (first === undefined) return undefined
    const isList = second === 'snapshots' || (second !== undefined && typeIn[second] !== undefined)
    return isList ? listedAt(ns, second, more) : node('lease', ns, first)
  }
  if (kind === 'snapshots' || kind === 'content') {
    if (first === undefined || second === undefined) return undefined
    if (kind === 'snapshots') return snapshotNode(ns, first, second)
    return node(first === 'blob' ? 'content' : 'ingest', ns, second)
  }
  const type = kind === undefined ? undefined : typeIn[kind]
  return type === undefined || first === undefined ? undefined : node(type, ns, first)
}

/** What a lease has at `path` of one of its lists. */
function listedAt(ns: string, list: string, [first, second]: readonly string[]): Node | undefined {
  if (first === undefined) return undefined
  if (list !== 'snapshots') {
    const type = typeIn[list]
    return type === undefined ? undefined : node(type, ns, first)
  }
  return second === undefined ? undefined : snapshotNode(ns, first, second)
}

/** Where in a namespace the records of each kind are. */
const pathOf: Readonly<Record<RecordType, readonly string[]>> = {
  content: ['content', 'blob'],
  ingest: ['content', 'ingests'],
  snapshot: ['snapshots'],
  container: ['containers'],
  image: ['images'],
  lease: ['leases'],
  sandbox: ['sandboxes'],
}

/** What is in buckets that hold records of one type, or that list them in a lease. */
const typeIn: Readonly<Record<string, RecordType>> = {
  containers: 'container',
  content: 'content',
  images: 'image',
  ingests: 'ingest',
  sandboxes: 'sandbox',
}
