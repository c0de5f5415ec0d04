import { type Context, withNamespace } from '#core/context.ts'
import type { CollectionStats } from '#core/gc/gc.ts'
import { span } from '#core/trace.ts'
import { Mutex } from '#lib/async/mutex.ts'
import type { Bucket } from '#lib/bolt/database.ts'
import { describe } from '#lib/errors/errors.ts'

import type { Announcer } from './announce.ts'
import type { ContentBackend, SnapshotBackend } from './backends.ts'
import { collectContent } from './content-gc.ts'
import { readText } from './fields.ts'
import { type Removable, survey } from './gc-mark.ts'
import { recordPath, splitSnapshotKey } from './gc-node.ts'
import type { Records } from './records.ts'
import { find } from './schema.ts'
import { inSlices } from './slices.ts'
import { unlinkChild } from './snapshot-record.ts'
import { collectSnapshots } from './snapshot-gc.ts'

/** How many records and references are looked at in one turn, which is about a millisecond. */
const markSlice = 128

/** How many records are deleted in one write. What is left after a crash is garbage all the same. */
const sweepSlice = 256

/** What a collector works on. */
export interface CollectorOptions {
  readonly records: Records
  readonly content: ContentBackend
  readonly snapshots: Iterable<SnapshotBackend>
  readonly announcer: Announcer
}

/**
 * Removes what nothing refers to: the records in one write, then, with the database free again,
 * what the backends have without a record.
 */
export class Collector {
  readonly #options: CollectorOptions
  readonly #running = new Mutex()

  constructor(options: CollectorOptions) {
    this.#options = options
  }

  async collect(ctx: Context): Promise<CollectionStats> {
    using _running = await this.#running.lock(ctx)
    return await span(ctx, 'garbage collection', async (own) => await this.#collect(own))
  }

  async #collect(ctx: Context): Promise<CollectionStats> {
    const { records } = this.#options
    const began = performance.now()
    const removed = await sweep(ctx, records)
    const pausedMs = performance.now() - began
    for (const node of removed) this.#note(ctx, node)
    await span(ctx, 'collect backends', async (own) => await this.#collectBackends(own))
    const counts = Object.entries(Object.groupBy(removed, (node) => node.type))
    return {
      elapsedMs: performance.now() - began,
      pausedMs,
      removed: Object.fromEntries(counts.map(([type, nodes]) => [type, nodes.length])),
    }
  }

  /** Says what is gone, and where it left something behind. */
  #note(ctx: Context, { type, ns, key }: Removable): void {
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
    ctx.log.warn(message, { ...fields, error: describe(err) })
  }
}

/** Deletes every record that is not in use, and answers which. */
async function sweep(ctx: Context, records: Records): Promise<readonly Removable[]> {
  let done = 0
  let sweeping: Promise<void> | undefined
  const swept = Promise.withResolvers<void>()
  try {
    return await records.sweep(
      async (tx) => {
        const marking = async () => await inSlices(survey(tx), markSlice)
        const { garbage } = await span(ctx, 'mark', marking)
        sweeping = span(ctx, 'sweep', async () => await swept.promise)
        return garbage
      },
      (tx, garbage) => {
        const slice = garbage.slice(done, done + sweepSlice)
        for (const node of slice) removeRecord(tx, node)
        done += slice.length
        return done < garbage.length
      },
    )
  } finally {
    swept.resolve()
    await sweeping
  }
}

function removeRecord(tx: Bucket, node: Removable): void {
  const path = recordPath(node)
  const parent = find(tx, path.slice(0, -1))
  const name = path.at(-1)
  const record = name === undefined ? undefined : parent?.bucket(name)
  if (!parent || !record || name === undefined) return
  if (node.type === 'snapshot') unlinkChild(parent, readText(record, 'parent'), name)
  parent.deleteBucket(name)
}
