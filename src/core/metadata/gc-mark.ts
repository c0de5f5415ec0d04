import type { ReadBucket } from '#lib/bolt/database.ts'

import { readText, readTime } from './fields.ts'
import { type Links, readLinks } from './gc-labels.ts'
import { type Collectable, type Node, node, nodeId, snapshotNode } from './gc-node.ts'
import { buckets, find, keys, schemaVersion } from './schema.ts'

/** A record that may be removed. */
export type Removable = Node & { readonly type: Collectable }

/** What is in the database, told apart by whether it is in use. */
export interface Survey {
  /** Ids of what is kept by itself, and of what that refers to, whether it is there or not. */
  readonly marked: ReadonlySet<string>
  /** Records that nothing in use refers to. */
  readonly garbage: readonly Removable[]
}

/** One object and what it holds. */
interface Holder {
  /** By what it is: its parent, target or root file system. A flat lease follows only these. */
  readonly built: readonly Node[]
  /** By its labels. */
  readonly labelled: readonly Node[]
}

/**
 * Looks at every record once, in steps of some microseconds each. Source: upstream
 * `core/metadata/gc.go`.
 *
 * The database is read from front to back; what refers to what is followed in memory.
 */
export function* survey(tx: ReadBucket, now = new Date()): Generator<void, Survey> {
  const scan = new Scan(now)
  for (const [ns, bucket] of buckets(find(tx, [schemaVersion]))) yield* scan.namespace(ns, bucket)
  return yield* scan.finish()
}

class Scan {
  readonly #now: Date
  readonly #roots: Node[] = []
  readonly #holders = new Map<string, Holder>()
  readonly #removable: Removable[] = []
  /** What an object holds because the other one says so. */
  readonly #held = new Map<string, Node[]>()
  /** Objects that a snapshot holds if it was used at the right time. */
  readonly #conditional: { readonly child: Node; readonly links: Links }[] = []
  readonly #usedAt = new Map<string, Date>()

  constructor(now: Date) {
    this.#now = now
  }

  *namespace(ns: string, bucket: ReadBucket): Generator<void> {
    for (const [id, lease] of buckets(bucket.bucket('leases'))) yield* this.#lease(ns, id, lease)
    for (const [name, image] of buckets(bucket.bucket('images'))) {
      yield this.#image(ns, name, image)
    }
    const content = bucket.bucket('content')
    for (const [ref, ingest] of buckets(content?.bucket('ingests'))) {
      yield this.#ingest(ns, ref, ingest)
    }
    for (const [digest, blob] of buckets(content?.bucket('blob'))) {
      this.#object({ type: 'content', ns, key: digest, flat: false }, blob, [])
      yield
    }
    for (const [id, container] of buckets(bucket.bucket('containers'))) {
      yield this.#container(ns, id, container)
    }
    for (const [snapshotter, snapshots] of buckets(bucket.bucket('snapshots'))) {
      for (const [key, snapshot] of buckets(snapshots)) {
        yield this.#snapshot(ns, snapshotter, key, snapshot)
      }
    }
    for (const [, sandbox] of buckets(bucket.bucket('sandboxes'))) {
      yield void this.#roots.push(...readLinks(sandbox, ns, this.#now).refs)
    }
  }

  *finish(): Generator<void, Survey> {
    for (const { child, links } of this.#conditional) {
      for (const condition of links.conditions) {
        const usedAt = this.#usedAt.get(nodeId(condition.parent))
        if (usedAt && condition.holds(usedAt)) this.#hold(condition.parent, child)
      }
      yield
    }
    const marked = yield* this.#follow()
    const garbage: Removable[] = []
    for (const object of this.#removable) {
      if (!marked.has(nodeId(object))) garbage.push(object)
      yield
    }
    return { marked, garbage }
  }

  /** A lease that has not expired is a root, and so is what it lists. */
  *#lease(ns: string, id: string, lease: ReadBucket): Generator<void> {
    const { expire, flat } = readLinks(lease, ns, this.#now)
    this.#removable.push({ type: 'lease', ns, key: id, flat: false })
    yield
    if (expire && expire < this.#now) return
    this.#roots.push(node('lease', ns, id))
    for (const digest of keys(lease.bucket('content'))) {
      yield void this.#roots.push(node('content', ns, digest, flat))
    }
    for (const [snapshotter, held] of buckets(lease.bucket('snapshots'))) {
      for (const key of keys(held)) {
        yield void this.#roots.push(snapshotNode(ns, snapshotter, key, flat))
      }
    }
    for (const ref of keys(lease.bucket('ingests'))) {
      yield void this.#roots.push(node('ingest', ns, ref))
    }
    for (const name of keys(lease.bucket('images'))) {
      yield void this.#roots.push(node('image', ns, name, flat))
    }
  }

  /** An image that has not expired is a root. */
  #image(ns: string, name: string, bucket: ReadBucket): void {
    const image: Removable = { type: 'image', ns, key: name, flat: false }
    const links = readLinks(bucket, ns, this.#now)
    const target = bucket.bucket('target')
    const built = target ? [node('content', ns, readText(target, 'digest'))] : []
    const expired = links.expire !== undefined && links.expire < this.#now
    if (!expired) this.#roots.push(image)
    else for (const parent of links.parents) this.#hold(parent, image)
    this.#add(image, { built, labelled: links.refs })
    if (links.conditions.length > 0) this.#conditional.push({ child: image, links })
  }

  /** Without a time it belongs to a lease, which is looked at by itself. */
  #ingest(ns: string, ref: string, bucket: ReadBucket): void {
    const ingest: Removable = { type: 'ingest', ns, key: ref, flat: false }
    const expected = readText(bucket, 'expected')
    const built = expected === '' ? [] : [node('content', ns, expected)]
    this.#add(ingest, { built, labelled: [] })
    const expires = bucket.get('expireat') !== undefined
    if (expires && readTime(bucket, 'expireat') >= this.#now) this.#roots.push(ingest)
  }

  /** Every container is a root. */
  #container(ns: string, id: string, bucket: ReadBucket): void {
    const container = node('container', ns, id)
    const snapshotter = readText(bucket, 'snapshotter')
    const key = readText(bucket, 'snapshotKey')
    this.#roots.push(container)
    this.#object(container, bucket, snapshotter === '' ? [] : [snapshotNode(ns, snapshotter, key)])
  }

  #snapshot(ns: string, snapshotter: string, key: string, bucket: ReadBucket): void {
    const snapshot = snapshotNode(ns, snapshotter, key)
    const parent = readText(bucket, 'parent')
    const built = parent === '' ? [] : [snapshotNode(ns, snapshotter, parent)]
    const { usedAt } = this.#object(snapshot, bucket, built)
    if (usedAt) this.#usedAt.set(nodeId(snapshot), usedAt)
  }

  /** Content, snapshots and containers: those that say themselves by whom they are kept. */
  #object(object: Node, bucket: ReadBucket, built: readonly Node[]): Links {
    const links = readLinks(bucket, object.ns, this.#now)
    this.#add(object, { built, labelled: links.refs })
    if (links.root) this.#roots.push(object)
    for (const parent of links.parents) this.#hold(parent, object)
    if (object.type === 'content' && links.conditions.length > 0) {
      this.#conditional.push({ child: object, links })
    }
    return links
  }

  #add(object: Node, holder: Holder): void {
    this.#holders.set(nodeId(object), holder)
    const { type, ns, key, flat } = object
    if (type !== 'container') this.#removable.push({ type, ns, key, flat })
  }

  #hold(parent: Node, child: Node): void {
    this.#held.getOrInsertComputed(nodeId(parent), () => []).push(child)
  }

  /** Ids of everything that the roots lead to. */
  *#follow(): Generator<void, ReadonlySet<string>> {
    const queue = this.#roots
    const marked = new Set<string>()
    const followedFlat = new Set<string>()
    const followed = new Set<string>()
    for (let next = queue.pop(); next; next = queue.pop()) {
      yield
      const id = nodeId(next)
      const seen = next.flat ? followedFlat : followed
      if (seen.has(id)) continue
      seen.add(id)
      marked.add(id)
      const holder = this.#holders.get(id)
      if (next.flat) {
        for (const held of holder?.built ?? []) queue.push({ ...held, flat: true })
        continue
      }
      // Without a record it holds nothing by itself; what says that it is held by it, still is.
      for (const held of this.#held.get(id) ?? []) queue.push(held)
      if (holder) queue.push(...holder.built, ...holder.labelled)
    }
    return marked
  }
}
