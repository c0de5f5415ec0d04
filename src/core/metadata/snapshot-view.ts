import { type Context, namespaceOf } from '#core/context.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { Info, SnapshotOptions, Snapshotter, Usage } from '#core/snapshots/snapshotter.ts'
import type { ReadBucket } from '#lib/bolt/database.ts'
import { failedPrecondition, hasCode, invalidArgument } from '#lib/errors/errors.ts'
import { parseFilters } from '#lib/filters/filters.ts'

import { adaptSnapshot } from './adaptors.ts'
import type { Announcer } from './announce.ts'
import type { SnapshotBackend } from './backends.ts'
import { readText, writeLabels, writeTime } from './fields.ts'
import { removeFromLease } from './lease-links.ts'
import { maskLabels } from './masks.ts'
import type { Records } from './records.ts'
import { decodeText, find, snapshotsOf } from './schema.ts'
import { commitSnapshot } from './snapshot-commit.ts'
import { type NewSnapshot, createSnapshot } from './snapshot-create.ts'
import { inherited } from './snapshot-labels.ts'
import {
  type SnapshotRecord,
  hasChild,
  merged,
  missingParent,
  missingSnapshot,
  readSnapshot,
  unlinkChild,
} from './snapshot-record.ts'
import { checkLabels, quote } from './wrap.ts'

/** How many records `list` reads at once: between two parts, the database may change. */
const batchSize = 100

/** Each namespace's view of one snapshotter: its own keys and labels. */
export class SnapshotView implements Snapshotter {
  readonly #records: Records
  readonly #backend: SnapshotBackend
  readonly #announcer: Announcer

  constructor(records: Records, backend: SnapshotBackend, announcer: Announcer) {
    this.#records = records
    this.#backend = backend
    this.#announcer = announcer
  }

  async stat(ctx: Context, key: string): Promise<Info> {
    const record = this.#read(ctx, key)
    return merged(await this.#backend.snapshotter.stat(ctx, record.name), record)
  }

  async update(
    ctx: Context,
    { name: key, labels: given }: Pick<Info, 'name' | 'labels'>,
    paths: readonly string[],
  ): Promise<Info> {
    const ns = namespaceOf(ctx)
    if (key === '') throw invalidArgument('snapshot name is required for update')
    using _key = await this.#backend.views.lock(`${ns}/${key}`, ctx)
    const record = this.#read(ctx, key)
    const labels = maskLabels(paths, record.labels, given, `snapshot ${quote(key)}`)
    checkLabels('info.Labels', labels)
    // The backend first: should it refuse, nothing has changed.
    const inner = { name: record.name, labels: inherited(labels) }
    const info = await this.#backend.snapshotter.update(ctx, inner, paths)
    const updatedAt = new Date()
    await this.#records.settle((tx) => {
      const bucket = find(tx, [...this.#path(ctx), key])
      if (!bucket) throw missingSnapshot(key)
      writeTime(bucket, 'updatedat', updatedAt)
      writeLabels(bucket, labels)
    })
    return merged(info, { ...record, labels, updatedAt })
  }

  async usage(ctx: Context, key: string): Promise<Usage> {
    return await this.#backend.snapshotter.usage(ctx, this.#read(ctx, key).name)
  }

  async mounts(ctx: Context, key: string): Promise<readonly Mount[]> {
    return await this.#backend.snapshotter.mounts(ctx, this.#read(ctx, key).name)
  }

  async prepare(
    ctx: Context,
    key: string,
    parent: string,
    options?: SnapshotOptions,
  ): Promise<readonly Mount[]> {
    const mounts = await this.#create(ctx, 'active', key, parent, options)
    this.#announcer.announce(ctx, (encode) =>
      encode.snapshotPrepared({ key, parent, snapshotter: this.#backend.name }),
    )
    return mounts
  }

  async view(
    ctx: Context,
    key: string,
    parent: string,
    options?: SnapshotOptions,
  ): Promise<readonly Mount[]> {
    return await this.#create(ctx, 'view', key, parent, options)
  }

  async #create(
    ctx: Context,
    kind: NewSnapshot['kind'],
    key: string,
    parent: string,
    options: SnapshotOptions = {},
  ): Promise<readonly Mount[]> {
    const snapshot = { kind, key, parent, labels: options.labels ?? {} }
    return await createSnapshot(ctx, this.#records, this.#backend, snapshot)
  }

  async commit(
    ctx: Context,
    name: string,
    key: string,
    options: SnapshotOptions = {},
  ): Promise<void> {
    const { labels = {}, parent = '', settle } = options
    const commit = { name, key, labels, parent, settle }
    await commitSnapshot(ctx, this.#records, this.#backend, commit)
    this.#announcer.announce(ctx, (encode) =>
      encode.snapshotCommitted({ key, name, snapshotter: this.#backend.name }),
    )
  }

  /** Removes the record; what the backend has goes with the next collection. */
  async remove(ctx: Context, key: string): Promise<void> {
    const snapshotter = this.#backend.name
    using _key = await this.#backend.views.lock(`${namespaceOf(ctx)}/${key}`, ctx)
    await this.#records.update(ctx, (tx) => {
      const snapshots = find(tx, this.#path(ctx))
      const bucket = snapshots && find(snapshots, [key])
      if (!bucket) throw missingSnapshot(key)
      if (hasChild(snapshots, bucket, key)) {
        throw failedPrecondition('cannot remove snapshot with child')
      }
      const parent = readText(bucket, 'parent')
      if (parent !== '' && !snapshots.bucket(parent)) throw missingParent(parent)
      unlinkChild(snapshots, parent, key)
      snapshots.deleteBucket(key)
      removeFromLease(tx, ctx, ['snapshots', snapshotter], key)
      this.#records.markDeleted({ snapshotter })
    })
    this.#announcer.announce(ctx, (encode) => encode.snapshotRemoved({ key, snapshotter }))
  }

  async *list(ctx: Context, filters?: readonly string[]): AsyncGenerator<Info> {
    // Whoever names no namespace hears of that first, as everywhere.
    namespaceOf(ctx)
    const matches = parseFilters(filters)
    let from: string | undefined
    do {
      const batch = this.#batch(ctx, from)
      // One more than asked for: where to go on.
      from = batch.length > batchSize ? batch.pop()?.key : undefined
      for (const record of batch) {
        const info = await this.#statIfAny(ctx, record)
        if (info && matches(adaptSnapshot(info))) yield info
      }
    } while (from !== undefined)
  }

  async cleanup(ctx: Context): Promise<void> {
    await this.#backend.snapshotter.cleanup(ctx)
  }

  /** The backend is not this view's to close. */
  async [Symbol.asyncDispose](): Promise<void> {}

  #path(ctx: Context): string[] {
    return snapshotsOf(namespaceOf(ctx), this.#backend.name)
  }

  #read(ctx: Context, key: string): SnapshotRecord {
    ctx.signal.throwIfAborted()
    return this.#records.view((tx) => {
      const bucket = find(tx, [...this.#path(ctx), key])
      if (!bucket) throw missingSnapshot(key)
      return readSnapshot(bucket, key)
    })
  }

  #batch(ctx: Context, from: string | undefined): SnapshotRecord[] {
    ctx.signal.throwIfAborted()
    return this.#records.view((tx) => {
      const snapshots: ReadBucket | undefined = find(tx, this.#path(ctx))
      const batch: SnapshotRecord[] = []
      for (const { key } of snapshots?.entries(from) ?? []) {
        const bucket = snapshots?.bucket(key)
        if (bucket) batch.push(readSnapshot(bucket, decodeText(key)))
        if (batch.length > batchSize) break
      }
      return batch
    })
  }

  /** A snapshot that the backend has lost is left out. */
  async #statIfAny(ctx: Context, record: SnapshotRecord): Promise<Info | undefined> {
    try {
      return merged(await this.#backend.snapshotter.stat(ctx, record.name), record)
    } catch (err) {
      if (hasCode(err, 'not_found')) return undefined
      throw err
    }
  }
}
