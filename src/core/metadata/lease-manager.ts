import { type Context, namespaceOf } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Lease, LeaseManager, Resource } from '#core/leases/leases.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { digestFault } from '#lib/digest/digest.ts'
import { alreadyExists, invalidArgument, notFound, unimplemented } from '#lib/errors/errors.ts'
import { parseFilters } from '#lib/filters/filters.ts'

import { adaptLease } from './adaptors.ts'
import { readLabels, readTime, writeLabels, writeTime } from './fields.ts'
import { withoutEmpty } from './masks.ts'
import type { Records } from './records.ts'
import { buckets, find, keys, leasesOf, make } from './schema.ts'
import { quote } from './wrap.ts'

/** Kinds of resources that are one flat list in a lease. */
const flatTypes = ['content', 'images', 'ingests'] as const

/** Leases as records of the database. */
export class BoltLeaseManager implements LeaseManager {
  readonly #records: Records

  constructor(records: Records) {
    this.#records = records
  }

  async create(
    ctx: Context,
    { id, labels }: { readonly id: string; readonly labels: Labels },
  ): Promise<Lease> {
    if (id === '') throw invalidArgument('lease id must be provided')
    const ns = namespaceOf(ctx)
    return await this.#records.update(ctx, (tx) => {
      const leases = make(tx, leasesOf(ns))
      if (leases.bucket(id)) throw alreadyExists(`lease ${quote(id)}`)
      const bucket = leases.createBucket(id)
      const createdAt = new Date()
      writeTime(bucket, 'createdat', createdAt)
      writeLabels(bucket, labels)
      return { id, labels: withoutEmpty(labels), createdAt }
    })
  }

  /** Whoever wants a synchronous deletion collects afterwards. */
  async delete(ctx: Context, id: string): Promise<void> {
    const ns = namespaceOf(ctx)
    await this.#records.update(ctx, (tx) => {
      const leases = find(tx, leasesOf(ns))
      if (!leases || !find(leases, [id])) throw missing(id)
      leases.deleteBucket(id)
      this.#records.markDeleted()
    })
  }

  async list(ctx: Context, filters?: readonly string[]): Promise<readonly Lease[]> {
    const ns = namespaceOf(ctx)
    ctx.signal.throwIfAborted()
    const matches = parseFilters(filters)
    return await Promise.resolve(
      this.#records.view((tx) =>
        Array.from(buckets(find(tx, leasesOf(ns))), ([id, bucket]) => ({
          id,
          labels: readLabels(bucket),
          createdAt: readTime(bucket, 'createdat'),
        })).filter((lease) => matches(adaptLease(lease))),
      ),
    )
  }

  async addResource(ctx: Context, id: string, resource: Resource): Promise<void> {
    const ns = namespaceOf(ctx)
    await this.#records.update(ctx, (tx) => {
      make(leaseBucket(tx, ns, id), resourcePath(resource)).put(resource.id, '')
    })
  }

  async deleteResource(ctx: Context, id: string, resource: Resource): Promise<void> {
    const ns = namespaceOf(ctx)
    await this.#records.update(ctx, (tx) => {
      find(leaseBucket(tx, ns, id), resourcePath(resource))?.delete(resource.id)
      this.#records.markDeleted()
    })
  }

  async listResources(ctx: Context, id: string): Promise<readonly Resource[]> {
    const ns = namespaceOf(ctx)
    ctx.signal.throwIfAborted()
    return await Promise.resolve(
      this.#records.view((tx) => {
        const lease = find(tx, [...leasesOf(ns), id])
        if (!lease) throw missing(id)
        return resourcesOf(lease)
      }),
    )
  }
}

const missing = (id: string): Error => notFound(`lease ${quote(id)}`)

function leaseBucket(tx: Bucket, ns: string, id: string): Bucket {
  const lease = find(tx, [...leasesOf(ns), id])
  if (!lease) throw missing(id)
  return lease
}

/** What a lease lists. */
export function resourcesOf(lease: ReadBucket): Resource[] {
  const resources: Resource[] = []
  for (const type of flatTypes) {
    for (const id of keys(lease.bucket(type))) resources.push({ id, type })
  }
  for (const [snapshotter, bucket] of buckets(lease.bucket('snapshots'))) {
    for (const id of keys(bucket)) resources.push({ id, type: `snapshots/${snapshotter}` })
  }
  return resources
}

/** Where a lease lists `resource`. @throws `invalid_argument`, `unimplemented`. */
function resourcePath({ id, type }: Resource): string[] {
  const path = type.split('/')
  const [kind = ''] = path
  if (kind === 'snapshots') {
    if (path.length === 2) return path
    throw invalidArgument(`invalid snapshot resource type ${type}`)
  }
  if (!flatTypes.some((flat) => flat === kind)) {
    throw unimplemented(`resource type ${type} not supported yet`)
  }
  if (path.length !== 1) throw invalidArgument(`invalid resource type ${type}`)
  const fault = kind === 'content' ? digestFault(id) : undefined
  if (fault !== undefined) throw invalidArgument(`invalid content resource id ${id}: ${fault}`)
  return path
}
