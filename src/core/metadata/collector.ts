import { type Context, withNamespace } from '#core/context.ts'
import type { CollectibleResource, CollectionStats } from '#core/gc/gc.ts'
import { span } from '#core/trace.ts'
import { Mutex } from '#lib/async/mutex.ts'
import type { Bucket } from '#lib/bolt/database.ts'
import { alreadyExists, describe, invalidArgument } from '#lib/errors/errors.ts'

import type { Announcer } from './announce.ts'
import type { ContentBackend, SnapshotBackend } from './backends.ts'
import { collectContent } from './content-gc.ts'
import { readText } from './fields.ts'
import { Marking } from './gc-mark.ts'
import { type Node, isRecordType, nodeAt, nodeId, recordPath, splitSnapshotKey } from './gc-node.ts'
import { ResourceCollections } from './gc-resources.ts'
import type { Records } from './records.ts'
import { find } from './schema.ts'
import { Pauses, inSlices, sliceSize } from './slices.ts'
import { collectSnapshots } from './snapshot-gc.ts'
import { unlinkChild } from './snapshot-record.ts'
import { quote } from './wrap.ts'

/** How many records are deleted in one write, which others share. What a crash leaves is garbage all the same. */
const sweepSlice = 64

/** What a collector works on. */
export interface CollectorOptions {
  readonly records: Records
  readonly content: ContentBackend
  readonly snapshots: Iterable<SnapshotBackend>
  readonly announcer: Announcer
}

/**
 * Removes what nothing refers to: first the records, in small writes, then what the backends have
 * without a record. Requests go on all the while; what they write is looked at again before
 * anything is removed.
 */
export class Collector {
  readonly #options: CollectorOptions
  readonly #resources = new Map<string, CollectibleResource>()
  readonly #running = new Mutex()

  constructor(options: CollectorOptions) {
    this.#options = options
  }

  /** Has objects that are not in the database take part, until it is disposed of. */
  register(resource: CollectibleResource): Disposable {
    const { type } = resource
    if (isRecordType(type)) throw invalidArgument(`collectible resource ${quote(type)} is a record`)
    if (this.#resources.has(type)) throw alreadyExists(`collectible resource ${quote(type)}`)
    this.#resources.set(type, resource)
    return { [Symbol.dispose]: () => void this.#resources.delete(type) }
  }

  async collect(ctx: Context): Promise<CollectionStats> {
    using _running = await this.#running.lock(ctx)
    return await span(ctx, 'garbage collection', async (own) => await this.#collect(own))
  }

  async #collect(ctx: Context): Promise<CollectionStats> {
    const began = performance.now()
    await using resources = await ResourceCollections.start(ctx, this.#resources.values())
    const pauses = new Pauses()
    const removed = await this.#collectRecords(ctx, resources, pauses)
    await span(ctx, 'collect backends', async (own) => {
      const garbage = removed.filter((node) => !hasRecord(node))
      await Promise.all([resources.remove(own, garbage), this.#collectBackends(own)])
    })
    const counts = Object.entries(Object.groupBy(removed, (node) => node.type))
    return {
      elapsedMs: performance.now() - began,
      pausedMs: pauses.total,
      removed: Object.fromEntries(counts.map(([type, nodes]) => [type, nodes?.length ?? 0])),
    }
  }

  /** Deletes every record that is not in use; answers what is gone, and which collectibles are to go. */
  async #collectRecords(
    ctx: Context,
    resources: ResourceCollections,
    pauses: Pauses,
  ): Promise<readonly Node[]> {
    const { records } = this.#options
    const written = new Map<string, Node>()
    using _watch = await records.watch((path) => {
      const node = nodeAt(path)
      if (node) written.set(nodeId(node), node)
    })
    records.resetDeleted()
    try {
      const marking = new Marking(new Date(), resources.types)
      const mark = async () => await this.#mark(marking, resources, pauses)
      const garbage = await span(ctx, 'mark', mark)
      const remove = (tx: Bucket, nodes: readonly Node[]): Node[] => {
        marking.look(tx, written.values())
        written.clear()
        return nodes.filter((node) => !marking.isMarked(node) && removeRecord(tx, node))
      }
      const removed = await span(ctx, 'sweep', async (own) => {
        return await this.#sweep(own, garbage, (...args) => pauses.during(() => remove(...args)))
      })
      // What was written meanwhile may have been kept for nothing.
      if (removed.length < garbage.length) records.markDeleted()
      return removed
    } catch (err) {
      records.markDeleted()
      throw err
    }
  }

  async #mark(
    marking: Marking,
    { collectibles }: ResourceCollections,
    pauses: Pauses,
  ): Promise<readonly Node[]> {
    await this.#options.records.read((tx) => marking.scan(tx, collectibles), pauses)
    return await inSlices(marking.garbage(), sliceSize, pauses)
  }

  async #sweep(
    ctx: Context,
    garbage: readonly Node[],
    remove: (tx: Bucket, nodes: readonly Node[]) => readonly Node[],
  ): Promise<readonly Node[]> {
    const { records } = this.#options
    const removed: Node[] = []
    for (const slice of slicesOf(garbage)) {
      const gone = await records.sweep((tx) => remove(tx, slice))
      for (const node of gone) this.#note(ctx, node)
      removed.push(...gone)
    }
    return removed
  }

  /** Says what is gone, and where it left something behind. */
  #note(ctx: Context, { type, ns, key }: Node): void {
    const { records, announcer } = this.#options
    ctx.log.debug('removed record', { type, namespace: ns, key })
    if (type === 'content' || type === 'ingest') records.dirtyContent = true
    if (type === 'image') {
      announcer.announce(withNamespace(ctx, ns), (encode) => encode.imageDeleted({ name: key }))
    }
    if (type !== 'snapshot') return
    const [snapshotter, name] = splitSnapshotKey(key)
    records.dirtySnapshotters.add(snapshotter)
    announcer.announce(withNamespace(ctx, ns), (encode) =>
      encode.snapshotRemoved({ key: name, snapshotter }),
    )
  }

  /** A backend that fails is left for the next collection. */
  async #collectBackends(ctx: Context): Promise<void> {
    const { records, content, snapshots } = this.#options
    const tasks: Promise<void>[] = []
    for (const backend of snapshots) {
      if (!records.dirtySnapshotters.delete(backend.name)) continue
      const again = (): void => void records.dirtySnapshotters.add(backend.name)
      const fields = { snapshotter: backend.name }
      tasks.push(
        retried(ctx, 'snapshot garbage collection failed', fields, again, () =>
          collectSnapshots(ctx, records, backend),
        ),
      )
    }
    if (records.dirtyContent) {
      records.dirtyContent = false
      const again = (): void => void (records.dirtyContent = true)
      tasks.push(
        retried(ctx, 'content garbage collection failed', {}, again, () =>
          collectContent(ctx, records, content),
        ),
      )
    }
    await Promise.all(tasks)
  }
}

/** Parts of `garbage` that go in one write each; what has no record comes last, and all at once. */
function* slicesOf(garbage: readonly Node[]): Generator<readonly Node[]> {
  const [records, others] = [garbage.filter(hasRecord), garbage.filter((node) => !hasRecord(node))]
  for (let done = 0; done < records.length; done += sweepSlice) {
    yield records.slice(done, done + sweepSlice)
  }
  if (others.length > 0) yield others
}

const hasRecord = ({ type }: Node): boolean => isRecordType(type)

async function retried(
  ctx: Context,
  message: string,
  fields: Readonly<Record<string, unknown>>,
  again: () => void,
  task: () => Promise<void>,
): Promise<void> {
  try {
    await task()
  } catch (err) {
    again()
    // A daemon that stops has not failed at it; the next one goes on.
    if (!ctx.signal.aborted) ctx.log.warn(message, { ...fields, error: describe(err) })
  }
}

/** Deletes the record of `node`; false when somebody else did. A collectible has none, and is to go. */
function removeRecord(tx: Bucket, node: Node): boolean {
  const path = recordPath(node)
  if (path === undefined) return true
  const parent = find(tx, path.slice(0, -1))
  const name = path.at(-1)
  const record = name === undefined ? undefined : parent?.bucket(name)
  if (!parent || !record || name === undefined) return false
  if (node.type === 'snapshot') unlinkChild(parent, readText(record, 'parent'), name)
  parent.deleteBucket(name)
  return true
}
