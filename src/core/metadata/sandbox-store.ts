import { type Context, namespaceOf } from '#core/context.ts'
import { validateIdentifier } from '#core/identifiers/identifiers.ts'
import type { Sandbox } from '#core/sandbox/controller.ts'
import type { NewSandbox, SandboxStore } from '#core/sandbox/store.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { alreadyExists, invalidArgument, notFound } from '#lib/errors/errors.ts'
import { parseFilters } from '#lib/filters/filters.ts'

import { adaptSandbox } from './adaptors.ts'
import {
  emptyAny,
  readAny,
  readExtensions,
  readLabels,
  readText,
  readTimes,
  writeAny,
  writeExtensions,
  writeLabels,
  writeTimes,
} from './fields.ts'
import { maskMap, withoutEmpty } from './masks.ts'
import type { Records } from './records.ts'
import { buckets, find, make, sandboxesOf } from './schema.ts'
import { quote, within } from './wrap.ts'

/** What an update without a field mask replaces. */
const mutable = ['labels', 'extensions', 'spec', 'runtime'] as const

/** Sandboxes as records of the database. Source: upstream `core/metadata/sandbox.go`. */
export class BoltSandboxStore implements SandboxStore {
  readonly #records: Records

  constructor(records: Records) {
    this.#records = records
  }

  async create(ctx: Context, sandbox: NewSandbox): Promise<Sandbox> {
    const ns = namespaceOf(ctx)
    within('failed to validate sandbox', () => checkId(sandbox.id))
    return await this.#records.update(ctx, (tx) => {
      const sandboxes = make(tx, sandboxesOf(ns))
      if (sandboxes.bucket(sandbox.id)) {
        const what = `sandbox bucket ${quote(sandbox.id)} already exists`
        throw alreadyExists(`write error: ${what}: already exists`)
      }
      const now = new Date()
      const labels = withoutEmpty(sandbox.labels)
      const created = { ...sandbox, labels, createdAt: now, updatedAt: now }
      writeSandbox(sandboxes.createBucket(sandbox.id), created)
      return created
    })
  }

  async update(ctx: Context, sandbox: NewSandbox, paths: readonly string[]): Promise<Sandbox> {
    const ns = namespaceOf(ctx)
    return await this.#records.update(ctx, (tx) => {
      const bucket = sandboxBucket(find(tx, sandboxesOf(ns)), sandbox.id)
      const masked = maskSandbox(readSandbox(bucket, sandbox.id), sandbox, paths)
      checkId(sandbox.id)
      const updated = { ...masked, labels: withoutEmpty(masked.labels), updatedAt: new Date() }
      writeSandbox(bucket, updated)
      return updated
    })
  }

  async get(ctx: Context, id: string): Promise<Sandbox> {
    const ns = namespaceOf(ctx)
    ctx.signal.throwIfAborted()
    return await Promise.resolve(
      this.#records.view((tx) => readSandbox(sandboxBucket(find(tx, sandboxesOf(ns)), id), id)),
    )
  }

  async list(ctx: Context, filters?: readonly string[]): Promise<readonly Sandbox[]> {
    const ns = namespaceOf(ctx)
    ctx.signal.throwIfAborted()
    const matches = parseFilters(filters)
    return await Promise.resolve(
      this.#records.view((tx) =>
        Array.from(buckets(find(tx, sandboxesOf(ns))), ([id, bucket]) =>
          within(`failed to read bucket ${quote(id)}`, () => readSandbox(bucket, id)),
        ).filter((sandbox) => matches(adaptSandbox(sandbox))),
      ),
    )
  }

  async delete(ctx: Context, id: string): Promise<void> {
    const ns = namespaceOf(ctx)
    await this.#records.update(ctx, (tx) => {
      const sandboxes = find(tx, sandboxesOf(ns))
      if (!sandboxes) throw notFound('no sandbox buckets')
      if (!find(sandboxes, [id])) throw notFound(`failed to delete sandbox ${quote(id)}`)
      sandboxes.deleteBucket(id)
      this.#records.markDeleted()
    })
  }
}

const checkId = (id: string): void => within('invalid sandbox ID', () => validateIdentifier(id))

function sandboxBucket<B extends ReadBucket>(sandboxes: B | undefined, id: string): B
function sandboxBucket(sandboxes: ReadBucket | undefined, id: string): ReadBucket {
  if (!sandboxes) throw notFound('no sandbox buckets')
  const bucket = find(sandboxes, [id])
  if (!bucket) throw notFound(`bucket ${quote(id)} not found: not found`)
  return bucket
}

/** @throws `invalid_argument` for a field that cannot be changed. */
function maskSandbox(current: Sandbox, given: NewSandbox, paths: readonly string[]): Sandbox {
  if (paths.length === 0 && current.runtime.name !== given.runtime.name) {
    throw invalidArgument('sandbox.Runtime.Name field is immutable')
  }
  let updated = current
  for (const path of paths.length === 0 ? mutable : paths) {
    updated = { ...updated, ...maskField(updated, given, path) }
  }
  return updated
}

function maskField(current: Sandbox, given: NewSandbox, path: string): Partial<Sandbox> {
  const ofLabels = { current: current.labels, given: given.labels, missing: '' }
  const labels = maskMap(path, 'labels', ofLabels)
  if (labels) return { labels }
  const ofExtensions = { current: current.extensions, given: given.extensions, missing: emptyAny }
  const extensions = maskMap(path, 'extensions', ofExtensions)
  if (extensions) return { extensions }
  if (path === 'runtime') return { runtime: given.runtime }
  if (path === 'spec') return { spec: given.spec }
  throw invalidArgument(`cannot update ${quote(path)} field on sandbox ${quote(given.id)}`)
}

function readSandbox(bucket: ReadBucket, id: string): Sandbox {
  const runtime = bucket.bucket('runtime')
  if (!runtime) throw new Error('no runtime bucket')
  return {
    id,
    runtime: { name: readText(runtime, 'name'), options: readAny(runtime, 'options') },
    spec: readAny(bucket, 'spec'),
    sandboxer: readText(bucket, 'sandboxer'),
    labels: readLabels(bucket),
    extensions: readExtensions(bucket),
    ...readTimes(bucket),
  }
}

/** Extensions are added to those that are there. */
function writeSandbox(bucket: Bucket, sandbox: Sandbox): void {
  writeTimes(bucket, sandbox)
  writeLabels(bucket, sandbox.labels)
  writeExtensions(bucket, sandbox.extensions)
  writeAny(bucket, 'spec', sandbox.spec)
  bucket.put('sandboxer', sandbox.sandboxer)
  const runtime = bucket.createBucketIfNotExists('runtime')
  runtime.put('name', sandbox.runtime.name)
  writeAny(runtime, 'options', sandbox.runtime.options)
}
