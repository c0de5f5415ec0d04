import type { ReadBucket } from '#lib/bolt/database.ts'

import { readText, readTime } from './fields.ts'
import { type Links, readLinks } from './gc-labels.ts'
import {
  type Collectable,
  type Node,
  node,
  nodeId,
  snapshotNode,
  splitSnapshotKey,
} from './gc-node.ts'
import { buckets, find, keys, schemaVersion } from './schema.ts'

/**
 * The ids of everything that is in use: what is kept by itself, and what that refers to.
 *
 * It reads the whole database at once, without a pause. Source: upstream `core/metadata/gc.go`.
 */
export function mark(tx: ReadBucket, now = new Date()): ReadonlySet<string> {
  const marker = new Marker(tx, now)
  for (const [ns, bucket] of buckets(find(tx, [schemaVersion]))) marker.scan(ns, bucket)
  return marker.follow()
}

/** Every object the collector may remove. */
export function* collectables(tx: ReadBucket): Generator<Node & { readonly type: Collectable }> {
  for (const [ns, bucket] of buckets(find(tx, [schemaVersion]))) {
    const all = function* (type: Collectable, path: readonly string[]) {
      for (const [key] of buckets(find(bucket, path))) yield { type, ns, key, flat: false }
    }
    yield* all('lease', ['leases'])
    for (const [snapshotter, snapshots] of buckets(bucket.bucket('snapshots'))) {
      for (const [key] of buckets(snapshots)) {
        yield { type: 'snapshot', ns, key: `${snapshotter}/${key}`, flat: false }
      }
    }
    yield* all('ingest', ['content', 'ingests'])
    yield* all('content', ['content', 'blob'])
    yield* all('image', ['images'])
  }
}

class Marker {
  readonly #tx: ReadBucket
  readonly #now: Date
  readonly #queue: Node[] = []
  /** What an object holds because the other one says so. */
  readonly #held = new Map<string, Node[]>()
  /** Objects that a snapshot holds if it was used at the right time. */
  readonly #conditional: { readonly child: Node; readonly links: Links }[] = []
  readonly #usedAt = new Map<string, Date>()

  constructor(tx: ReadBucket, now: Date) {
    this.#tx = tx
    this.#now = now
  }

  /** Notes the roots of one namespace, and what holds what. */
  scan(ns: string, bucket: ReadBucket): void {
    for (const [, lease] of this.#leases(ns, bucket)) this.#scanLease(ns, lease)
    for (const [name, image] of buckets(bucket.bucket('images'))) this.#scanImage(ns, name, image)
    for (const [ref, ingest] of buckets(find(bucket, ['content', 'ingests']))) {
      // Without a time it belongs to a lease, which is looked at by itself.
      if (ingest.get('expireat') && readTime(ingest, 'expireat') >= this.#now) {
        this.#queue.push(node('ingest', ns, ref))
      }
    }
    for (const [digest, blob] of buckets(find(bucket, ['content', 'blob']))) {
      this.#scanObject(node('content', ns, digest), blob)
    }
    for (const [id, container] of buckets(bucket.bucket('containers'))) {
      this.#queue.push(node('container', ns, id))
      this.#scanObject(node('container', ns, id), container)
    }
    for (const [snapshotter, snapshots] of buckets(bucket.bucket('snapshots'))) {
      for (const [key, snapshot] of buckets(snapshots)) {
        this.#scanObject(snapshotNode(ns, snapshotter, key), snapshot)
      }
    }
    for (const [, sandbox] of buckets(bucket.bucket('sandboxes'))) {
      this.#queue.push(...readLinks(sandbox, ns, this.#now).refs)
    }
  }

  /** Everything that the roots lead to. */
  follow(): ReadonlySet<string> {
    for (const { child, links } of this.#conditional) {
      for (const condition of links.conditions) {
        const usedAt = this.#usedAt.get(nodeId(condition.parent))
        if (usedAt && condition.holds(usedAt)) this.#hold(condition.parent, child)
      }
    }
    const marked = new Set<string>()
    const visited = new Set<string>()
    for (let next = this.#queue.pop(); next; next = this.#queue.pop()) {
      const id = nodeId(next)
      const visit = next.flat ? `flat\0${id}` : id
      if (visited.has(visit)) continue
      visited.add(visit)
      marked.add(id)
      this.#queue.push(...this.#references(next))
    }
    return marked
  }

  /** Leases that have not expired; each is a root. */
  *#leases(ns: string, bucket: ReadBucket): Generator<[string, ReadBucket]> {
    for (const [id, lease] of buckets(bucket.bucket('leases'))) {
      const { expire } = readLinks(lease, ns, this.#now)
      if (expire && expire < this.#now) continue
      this.#queue.push(node('lease', ns, id))
      yield [id, lease]
    }
  }

  #scanLease(ns: string, lease: ReadBucket): void {
    const { flat } = readLinks(lease, ns, this.#now)
    for (const digest of keys(lease.bucket('content'))) {
      this.#queue.push(node('content', ns, digest, flat))
    }
    for (const [snapshotter, held] of buckets(lease.bucket('snapshots'))) {
      for (const key of keys(held)) this.#queue.push(snapshotNode(ns, snapshotter, key, flat))
    }
    for (const ref of keys(lease.bucket('ingests'))) this.#queue.push(node('ingest', ns, ref))
    for (const name of keys(lease.bucket('images'))) {
      this.#queue.push(node('image', ns, name, flat))
    }
  }

  #scanImage(ns: string, name: string, bucket: ReadBucket): void {
    const image = node('image', ns, name)
    const links = readLinks(bucket, ns, this.#now)
    const expired = links.expire !== undefined && links.expire < this.#now
    if (!expired) this.#queue.push(image)
    else for (const parent of links.parents) this.#hold(parent, image)
    if (links.conditions.length > 0) this.#conditional.push({ child: image, links })
  }

  /** Content, snapshots and containers: those that say themselves by whom they are kept. */
  #scanObject(object: Node, bucket: ReadBucket): void {
    const links = readLinks(bucket, object.ns, this.#now)
    if (links.root) this.#queue.push(object)
    for (const parent of links.parents) this.#hold(parent, object)
    if (object.type === 'snapshot' && links.usedAt) {
      this.#usedAt.set(nodeId(object), links.usedAt)
    }
    if (object.type === 'content' && links.conditions.length > 0) {
      this.#conditional.push({ child: object, links })
    }
  }

  #hold(parent: Node, child: Node): void {
    this.#held.getOrInsertComputed(nodeId(parent), () => []).push(child)
  }

  /** What `from` holds. */
  #references(from: Node): Node[] {
    const bucket = this.#bucketOf(from)
    // Without a record the reference led nowhere; what says that it is held by it, still is.
    const refs = from.flat ? [] : [...(this.#held.get(nodeId(from)) ?? [])]
    if (!bucket) return refs
    if (from.type === 'ingest') {
      const expected = readText(bucket, 'expected')
      if (expected !== '') refs.push(node('content', from.ns, expected))
      return refs
    }
    refs.push(...built(from, bucket))
    if (!from.flat) refs.push(...readLinks(bucket, from.ns, this.#now).refs)
    return refs
  }

  #bucketOf({ type, ns, key }: Node): ReadBucket | undefined {
    return find(this.#tx, recordPath(type, ns, key))
  }
}

/** References that are not labels: parent, target, root file system. */
function built({ type, ns, key, flat }: Node, bucket: ReadBucket): Node[] {
  if (type === 'snapshot') {
    const [snapshotter] = splitSnapshotKey(key)
    const parent = readText(bucket, 'parent')
    return parent === '' ? [] : [snapshotNode(ns, snapshotter, parent, flat)]
  }
  if (type === 'image') {
    const target = bucket.bucket('target')
    return target ? [node('content', ns, readText(target, 'digest'), flat)] : []
  }
  if (type !== 'container') return []
  const snapshotter = readText(bucket, 'snapshotter')
  return snapshotter === '' ? [] : [snapshotNode(ns, snapshotter, readText(bucket, 'snapshotKey'))]
}

/** Where the record of an object is. */
export const recordPath = (type: Node['type'], ns: string, key: string): string[] => [
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
