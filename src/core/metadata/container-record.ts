import type { Container, NewContainer } from '#core/containers/containers.ts'
import { validateIdentifier } from '#core/identifiers/identifiers.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

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
  writeTime,
} from './fields.ts'
import { maskMap } from './masks.ts'
import { checkLabels, quote, within } from './wrap.ts'

/** What an update without a field mask replaces. */
const mutable = ['labels', 'spec', 'extensions', 'image', 'snapshotkey'] as const

/** @throws `invalid_argument`, naming the field. */
export function validateContainer(container: NewContainer): void {
  within('container.ID', () => validateIdentifier(container.id))
  if (Object.hasOwn(container.extensions, '')) {
    throw invalidArgument('container.Extension keys must not be zero-length')
  }
  checkLabels('containers.Labels', container.labels)
  if (container.runtime.name === '') throw invalidArgument('container.Runtime.Name must be set')
  if (!container.spec) throw invalidArgument('container.Spec must be set')
  if (container.snapshotKey !== '' && container.snapshotter === '') {
    throw invalidArgument('container.Snapshotter must be set if container.SnapshotKey is set')
  }
}

/**
 * `current` with the fields of `given` that `paths` names; without paths, with all that may change.
 *
 * @throws `invalid_argument` for a field that cannot be changed.
 */
export function maskContainer(
  current: NewContainer,
  given: NewContainer,
  paths: readonly string[],
): NewContainer {
  if (paths.length === 0) checkImmutable(current, given)
  let updated = current
  for (const path of paths.length === 0 ? mutable : paths) {
    updated = { ...updated, ...maskField(updated, given, path) }
  }
  return updated
}

function maskField(
  current: NewContainer,
  given: NewContainer,
  path: string,
): Partial<NewContainer> {
  const labels = maskMap(path, 'labels', {
    current: current.labels,
    given: given.labels,
    missing: '',
  })
  if (labels) return { labels }
  const extensions = maskMap(path, 'extensions', {
    current: current.extensions,
    given: given.extensions,
    missing: emptyAny,
  })
  if (extensions) return { extensions }
  if (path === 'spec') return { spec: given.spec }
  if (path === 'image') return { image: given.image }
  if (path === 'snapshotkey') return { snapshotKey: given.snapshotKey }
  throw invalidArgument(`cannot update ${quote(path)} field on ${quote(given.id)}`)
}

function checkImmutable(current: NewContainer, given: NewContainer): void {
  if (current.snapshotter !== given.snapshotter) {
    throw invalidArgument('container.Snapshotter field is immutable')
  }
  if (current.runtime.name !== given.runtime.name) {
    throw invalidArgument('container.Runtime.Name field is immutable')
  }
}

export function readContainer(bucket: ReadBucket, id: string): Container {
  const runtime = bucket.bucket('runtime')
  return {
    id,
    labels: readLabels(bucket),
    image: readText(bucket, 'image'),
    runtime: {
      name: runtime ? readText(runtime, 'name') : '',
      options: runtime ? readAny(runtime, 'options') : undefined,
    },
    spec: readAny(bucket, 'spec'),
    snapshotKey: readText(bucket, 'snapshotKey'),
    snapshotter: readText(bucket, 'snapshotter'),
    sandbox: readText(bucket, 'sandboxid'),
    extensions: readExtensions(bucket),
    ...readTimes(bucket),
  }
}

/** Writes everything but `createdAt`. Extensions are added to those that are there. */
export function writeContainer(bucket: Bucket, container: NewContainer, updatedAt: Date): void {
  writeTime(bucket, 'updatedat', updatedAt)
  writeAny(bucket, 'spec', container.spec)
  bucket.put('image', container.image)
  bucket.put('snapshotter', container.snapshotter)
  bucket.put('snapshotKey', container.snapshotKey)
  bucket.put('sandboxid', container.sandbox)
  if (bucket.bucket('runtime')) bucket.deleteBucket('runtime')
  const runtime = bucket.createBucket('runtime')
  runtime.put('name', container.runtime.name)
  writeAny(runtime, 'options', container.runtime.options)
  writeExtensions(bucket, container.extensions)
  writeLabels(bucket, container.labels)
}
