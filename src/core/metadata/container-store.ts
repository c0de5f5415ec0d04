import type { Container, ContainerStore, NewContainer } from '#core/containers/containers.ts'
import { type Context, namespaceOf } from '#core/context.ts'
import { alreadyExists, invalidArgument, notFound } from '#lib/errors/errors.ts'
import { parseFilters } from '#lib/filters/filters.ts'

import { adaptContainer } from './adaptors.ts'
import {
  maskContainer,
  readContainer,
  validateContainer,
  writeContainer,
} from './container-record.ts'
import { writeTime } from './fields.ts'
import { withoutEmpty } from './masks.ts'
import type { Records } from './records.ts'
import { buckets, containersOf, find, make } from './schema.ts'
import { quote, within } from './wrap.ts'

/** Containers as records of the database. */
export class BoltContainerStore implements ContainerStore {
  readonly #records: Records

  constructor(records: Records) {
    this.#records = records
  }

  async get(ctx: Context, id: string): Promise<Container> {
    const ns = namespaceOf(ctx)
    ctx.signal.throwIfAborted()
    return await Promise.resolve(
      this.#records.view((tx) => {
        const bucket = find(tx, [...containersOf(ns), id])
        if (!bucket) throw notFound(`container ${quote(id)} in namespace ${quote(ns)}`)
        return within(`failed to read container ${quote(id)}`, () => readContainer(bucket, id))
      }),
    )
  }

  async list(ctx: Context, filters?: readonly string[]): Promise<readonly Container[]> {
    const ns = namespaceOf(ctx)
    ctx.signal.throwIfAborted()
    const matches = parseFilters(filters)
    return await Promise.resolve(
      this.#records.view((tx) =>
        Array.from(buckets(find(tx, containersOf(ns))), ([id, bucket]) =>
          within(`failed to read container ${quote(id)}`, () => readContainer(bucket, id)),
        ).filter((container) => matches(adaptContainer(container))),
      ),
    )
  }

  async create(ctx: Context, container: NewContainer): Promise<Container> {
    const ns = namespaceOf(ctx)
    within('create container failed validation', () => validateContainer(container))
    return await this.#records.update(ctx, (tx) => {
      const containers = make(tx, containersOf(ns))
      if (containers.bucket(container.id)) {
        throw alreadyExists(`container ${quote(container.id)}`)
      }
      const now = new Date()
      const bucket = containers.createBucket(container.id)
      writeTime(bucket, 'createdat', now)
      writeContainer(bucket, container, now)
      const labels = withoutEmpty(container.labels)
      return { ...container, labels, createdAt: now, updatedAt: now }
    })
  }

  async update(
    ctx: Context,
    container: NewContainer,
    paths: readonly string[],
  ): Promise<Container> {
    const { id } = container
    if (id === '') throw invalidArgument('must specify a container id')
    const ns = namespaceOf(ctx)
    return await this.#records.update(ctx, (tx) => {
      const containers = find(tx, containersOf(ns))
      if (!containers) {
        throw notFound(`cannot update container ${quote(id)} in namespace ${quote(ns)}`)
      }
      const bucket = containers.bucket(id)
      if (!bucket) throw notFound(`container ${quote(id)}`)
      const current = within(`failed to read container ${quote(id)}`, () =>
        readContainer(bucket, id),
      )
      const updated = maskContainer(current, container, paths)
      within('update failed validation', () => validateContainer(updated))
      const updatedAt = new Date()
      writeContainer(bucket, updated, updatedAt)
      const labels = withoutEmpty(updated.labels)
      return { ...updated, labels, createdAt: current.createdAt, updatedAt }
    })
  }

  async delete(ctx: Context, id: string): Promise<void> {
    const ns = namespaceOf(ctx)
    await this.#records.update(ctx, (tx) => {
      const containers = find(tx, containersOf(ns))
      if (!containers) {
        throw notFound(`cannot delete container ${quote(id)} in namespace ${quote(ns)}`)
      }
      if (!find(containers, [id])) throw notFound(`container ${id}`)
      containers.deleteBucket(id)
      this.#records.markDeleted()
    })
  }
}
