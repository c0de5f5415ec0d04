import type { Context } from '#core/context.ts'
import { validateIdentifier } from '#core/identifiers/identifiers.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { LabelOptions, Namespace, NamespaceStore } from '#core/namespaces/namespaces.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { alreadyExists, failedPrecondition, notFound } from '#lib/errors/errors.ts'

import { readMap } from './fields.ts'
import type { Records } from './records.ts'
import {
  blobsOf,
  buckets,
  containersOf,
  find,
  imagesOf,
  isEmpty,
  labelsOf,
  make,
  schemaVersion,
} from './schema.ts'
import { checkLabels, quote } from './wrap.ts'

/** Namespaces as the buckets of the schema. */
export class BoltNamespaceStore implements NamespaceStore {
  readonly #records: Records

  constructor(records: Records) {
    this.#records = records
  }

  async create(ctx: Context, { name, labels }: Namespace): Promise<void> {
    validateIdentifier(name)
    checkLabels('namespace.Labels', labels)
    await this.#records.update(ctx, (tx) => {
      const schema = make(tx, [schemaVersion])
      if (schema.bucket(name)) throw alreadyExists(`namespace ${quote(name)}`)
      setAll(make(schema, [name, 'labels']), labels)
    })
  }

  async get(ctx: Context, name: string): Promise<Namespace> {
    ctx.signal.throwIfAborted()
    return await Promise.resolve(
      this.#records.view((tx) => {
        const bucket = find(tx, [schemaVersion, name])
        if (!bucket) throw notFound(`namespace ${quote(name)}`)
        return { name, labels: readMap(bucket, 'labels') }
      }),
    )
  }

  async list(ctx: Context): Promise<readonly Namespace[]> {
    ctx.signal.throwIfAborted()
    return await Promise.resolve(
      this.#records.view((tx) =>
        Array.from(buckets(find(tx, [schemaVersion])), ([name, bucket]) => ({
          name,
          labels: readMap(bucket, 'labels'),
        })),
      ),
    )
  }

  async setLabels(
    ctx: Context,
    name: string,
    labels: Labels,
    { replace = false }: LabelOptions = {},
  ): Promise<void> {
    checkLabels('namespace.Labels', labels)
    await this.#records.update(ctx, (tx) => {
      if (Object.keys(labels).length === 0 && !find(tx, labelsOf(name))) return
      const bucket = make(tx, labelsOf(name))
      const gone = replace ? Array.from(bucket.entries(), ({ key }) => key) : []
      for (const key of gone) bucket.delete(key)
      setAll(bucket, labels)
    })
  }

  async delete(ctx: Context, name: string): Promise<void> {
    await this.#records.update(ctx, (tx) => {
      const schema = find(tx, [schemaVersion])
      if (!schema?.bucket(name)) throw notFound(`namespace ${quote(name)}`)
      const left = leftIn(tx, name)
      if (left.length > 0) {
        throw failedPrecondition(
          `namespace ${quote(name)} must be empty, but it still has ${left.join(', ')}`,
        )
      }
      schema.deleteBucket(name)
    })
  }
}

/** An empty value removes a label. */
function setAll(bucket: Bucket, labels: Labels): void {
  for (const [key, value] of Object.entries(labels)) {
    if (value === '') bucket.delete(key)
    else bucket.put(key, value)
  }
}

/** What keeps a namespace from being deleted, in words. */
function leftIn(tx: ReadBucket, ns: string): string[] {
  const left: string[] = []
  if (!isEmpty(find(tx, imagesOf(ns)))) left.push('images')
  if (!isEmpty(find(tx, blobsOf(ns)))) left.push('blobs')
  if (!isEmpty(find(tx, containersOf(ns)))) left.push('containers')
  for (const [snapshotter, bucket] of buckets(find(tx, [schemaVersion, ns, 'snapshots']))) {
    if (!isEmpty(bucket)) left.push(`snapshots on ${quote(snapshotter)} snapshotter`)
  }
  return left
}
