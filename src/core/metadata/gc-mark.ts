import type { CollectibleObject } from '#core/gc/gc.ts'
import type { ReadBucket } from '#lib/bolt/database.ts'

import { readText, readTime } from './fields.ts'
import { Graph } from './gc-graph.ts'
import { type Condition, LinkReader, type Links } from './gc-labels.ts'
import { type Node, type RecordType, node, nodeId, recordPath, snapshotNode } from './gc-node.ts'
import { buckets, find, keys, schemaVersion } from './schema.ts'

/** Objects of a collectible resource. */
export interface Collectibles {
  readonly type: string
  readonly objects: Iterable<CollectibleObject>
}

/** What `holder` holds on a condition. */
interface Conditional extends Condition {
  readonly holder: Node
}

/**
 * Finds out what is in use, while others go on writing. Source: upstream `core/metadata/gc.go`.
 *
 * First, every record of a state of the database is looked at once, and what refers to what is
 * followed in memory (`scan`). Records that were written since are then looked at again in the state
 * that is to be swept (`look`), and are kept with all that they hold: whatever became reachable
 * since, became so by one of them. What they have dropped is left for the next collection.
 */
export class Marking {
  readonly #graph = new Graph()
  readonly #links: LinkReader
  readonly #removable: Node[] = []
  /** By id of the snapshot that is held. */
  readonly #conditional = new Map<string, Conditional[]>()
  readonly #undecided = new Set<string>()
  readonly #usedAt = new Map<string, readonly Date[]>()

  /** @param types - The collectible resources there are. */
  constructor(now: Date, types: readonly string[] = []) {
    this.#links = new LinkReader(now, types)
  }

  /** Ids of what is kept by itself, and of what that refers to, whether it is there or not. */
  get marked(): ReadonlySet<string> {
    return this.#graph.marked
  }

  isMarked(object: Node): boolean {
    return this.#graph.marked.has(nodeId(object))
  }

  /** Looks at everything, in steps of some microseconds each. */
  *scan(tx: ReadBucket, resources: readonly Collectibles[] = []): Generator<void> {
    for (const [ns, bucket] of buckets(find(tx, [schemaVersion])))
      yield* this.#namespace(ns, bucket)
    for (const { type, objects } of resources) {
      for (const object of objects) yield this.#collectible(type, object)
    }
    yield* this.#decide()
    yield* this.#graph.follow()
  }

  /**
   * The objects of `scan` that nothing in use refers to, in the order in which they may go: each
   * before what it holds, so that what is used again after all has all that it needs.
   */
  *garbage(): Generator<void, readonly Node[]> {
    const garbage: Node[] = []
    for (const object of this.#removable) {
      if (!this.isMarked(object)) garbage.push(object)
      yield
    }
    return yield* this.#graph.order(garbage)
  }

  /** Keeps `objects`, which were written since `scan`, and what they hold in `tx`. */
  look(tx: ReadBucket, objects: Iterable<Node>): void {
    for (const object of objects) {
      const path = recordPath(object)
      const bucket = path && find(tx, path)
      if (bucket) this.#again(object, bucket)
    }
    for (const _ of this.#decide()) continue
    for (const _ of this.#graph.follow()) continue
  }

  /** What was added to a lease is among the objects that were written: only its labels are news. */
  #again(object: Node, bucket: ReadBucket): void {
    const { type, ns, key } = object
    if (type === 'lease') for (const _ of this.#lease(ns, key, bucket)) continue
    else this.#read(type, ns, key, bucket)
    this.#graph.again(object)
  }

  *#namespace(ns: string, bucket: ReadBucket): Generator<void> {
    for (const [id, lease] of buckets(bucket.bucket('leases'))) {
      this.#removable.push(node('lease', ns, id))
      yield* this.#lease(ns, id, lease)
    }
    const content = bucket.bucket('content')
    yield* this.#all('image', ns, bucket.bucket('images'))
    yield* this.#all('ingest', ns, content?.bucket('ingests'))
    yield* this.#all('content', ns, content?.bucket('blob'))
    yield* this.#all('container', ns, bucket.bucket('containers'))
    for (const [snapshotter, snapshots] of buckets(bucket.bucket('snapshots'))) {
      yield* this.#all('snapshot', ns, snapshots, `${snapshotter}/`)
    }
    yield* this.#all('sandbox', ns, bucket.bucket('sandboxes'))
  }

  *#all(
    type: RecordType,
    ns: string,
    records: ReadBucket | undefined,
    prefix = '',
  ): Generator<void> {
    const stays = type === 'container' || type === 'sandbox'
    for (const [name, record] of buckets(records)) {
      const key = prefix + name
      if (!stays) this.#removable.push(node(type, ns, key))
      yield this.#read(type, ns, key, record)
    }
  }

  #read(type: string, ns: string, key: string, bucket: ReadBucket): void {
    const object = node(type, ns, key)
    if (type === 'image') this.#image(object, bucket)
    else if (type === 'ingest') this.#ingest(object, bucket)
    else if (type === 'content') this.#labelled(object, bucket, [])
    else if (type === 'container') this.#container(object, bucket)
    else if (type === 'snapshot') this.#snapshot(object, bucket)
    else for (const held of this.#links.ofRecord(bucket, ns).refs) this.#graph.root(held)
  }

  /** A lease that has not expired is a root, and so is what it lists. */
  *#lease(ns: string, id: string, lease: ReadBucket): Generator<void> {
    const { expire, flat } = this.#links.ofRecord(lease, ns)
    yield
    if (this.#hasPassed(expire)) return
    const root = (type: RecordType, key: string): void =>
      this.#graph.root(node(type, ns, key, flat && type !== 'ingest'))
    root('lease', id)
    for (const digest of keys(lease.bucket('content'))) yield root('content', digest)
    for (const [snapshotter, held] of buckets(lease.bucket('snapshots'))) {
      for (const key of keys(held)) yield root('snapshot', `${snapshotter}/${key}`)
    }
    for (const ref of keys(lease.bucket('ingests'))) yield root('ingest', ref)
    for (const name of keys(lease.bucket('images'))) yield root('image', name)
  }

  /** An image that has not expired is a root. */
  #image(image: Node, bucket: ReadBucket): void {
    const links = this.#links.ofRecord(bucket, image.ns)
    const target = bucket.bucket('target')
    const built = target ? [node('content', image.ns, readText(target, 'digest'))] : []
    this.#graph.add(image, { built, labelled: links.refs })
    if (!this.#hasPassed(links.expire)) this.#graph.root(image)
    else for (const parent of links.parents) this.#graph.hold(parent, image)
    this.#note(image, links)
  }

  /** Without a time it belongs to a lease, which is looked at by itself. */
  #ingest(ingest: Node, bucket: ReadBucket): void {
    const expected = readText(bucket, 'expected')
    const built = expected === '' ? [] : [node('content', ingest.ns, expected)]
    this.#graph.add(ingest, { built, labelled: [] })
    const expires = bucket.get('expireat') !== undefined
    if (expires && !this.#hasPassed(readTime(bucket, 'expireat'))) this.#graph.root(ingest)
  }

  /** Every container is a root. */
  #container(container: Node, bucket: ReadBucket): void {
    const snapshotter = readText(bucket, 'snapshotter')
    const key = readText(bucket, 'snapshotKey')
    const root = snapshotter === '' ? [] : [snapshotNode(container.ns, snapshotter, key)]
    this.#graph.root(container)
    this.#labelled(container, bucket, root)
  }

  #snapshot(snapshot: Node, bucket: ReadBucket): void {
    const { ns, key } = snapshot
    const parent = readText(bucket, 'parent')
    const snapshotter = key.slice(0, key.indexOf('/'))
    const built = parent === '' ? [] : [snapshotNode(ns, snapshotter, parent)]
    const { usedAt } = this.#labelled(snapshot, bucket, built)
    if (usedAt.length > 0) this.#usedAt.set(nodeId(snapshot), usedAt)
  }

  /** Content, snapshots and containers: those that say themselves by whom they are kept. */
  #labelled(object: Node, bucket: ReadBucket, built: readonly Node[]): Links {
    const links = this.#links.ofRecord(bucket, object.ns)
    this.#link(object, links, built)
    if (object.type === 'content') this.#note(object, links)
    return links
  }

  #link(object: Node, links: Links, built: readonly Node[]): void {
    this.#graph.add(object, { built, labelled: links.refs })
    if (links.root) this.#graph.root(object)
    for (const parent of links.parents) this.#graph.hold(parent, object)
  }

  /** An object that is not in the database. */
  #collectible(type: string, { namespace, key, active, lease, labels }: CollectibleObject): void {
    const object = node(type, namespace, key)
    this.#removable.push(object)
    if (active) this.#graph.root(object)
    if (lease !== undefined && lease !== '') {
      this.#graph.hold(node('lease', namespace, lease), object)
    }
    this.#link(object, this.#links.ofLabels(labels ?? {}, namespace), [])
  }

  /** Remembers on what conditions an object holds others. */
  #note(holder: Node, { conditions }: Links): void {
    for (const condition of conditions) {
      const id = nodeId(condition.snapshot)
      this.#conditional.getOrInsertComputed(id, () => []).push({ ...condition, holder })
      this.#undecided.add(id)
    }
  }

  /** Has snapshots held whose conditions are met. */
  *#decide(): Generator<void> {
    for (const id of this.#undecided) {
      const usedAt = this.#usedAt.get(id) ?? []
      for (const { holder, snapshot, holds } of this.#conditional.get(id) ?? []) {
        if (usedAt.some(holds)) this.#graph.hold(holder, snapshot)
      }
      yield
    }
    this.#undecided.clear()
  }

  #hasPassed(time: Date | undefined): boolean {
    return time !== undefined && time < this.#links.now
  }
}
