import * as fs from 'node:fs'
import { dirname } from 'node:path'

import { writeSize, writeTime, writeTimes } from '#core/metadata/fields.ts'
import { writeImage } from '#core/metadata/image-record.ts'
import { migrate } from '#core/metadata/migrations.ts'
import { blobsOf, find, imagesOf, leasesOf, make } from '#core/metadata/schema.ts'
import type { Image } from '#core/images/images.ts'
import type { Bucket, Database } from '#lib/bolt/database.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { tryLock } from '#sys/flock.ts'

import type { Blob } from '#doctor/checks/blobs.ts'
import type { Examination } from '#doctor/context.ts'
import { syncDirectory } from '#doctor/files.ts'
import type { Outcome } from '#doctor/finding.ts'
import { repaired } from '#doctor/findings.ts'
import { readImages } from '#doctor/image-graph.ts'
import { recordPart } from '#doctor/repair/blobs.ts'
import { counted } from '#doctor/words.ts'

import { findImages } from './roots.ts'
import { type NamedSnapshot, namedSnapshots, writeSnapshots } from './snapshots.ts'

/*
 * A new `meta.db` for a store that has lost it, made from what is there:
 *
 *     blobs        that are what their digests say: a record in the namespace that the user names,
 *                  with the labels by which manifests hold what they list
 *     images       one for each manifest or index that no other lists, by a name that an annotation
 *                  tells, else `lost.invalid/image@<digest>`
 *     snapshots    of overlayfs and native, each in the namespace that its name in the backend tells
 *     a lease      in each of these namespaces, which holds what no image does: what containers had
 *                  written, and blobs that nothing refers to
 *
 * Containers, leases, labels of clients and the names of most images are nowhere else, and are lost.
 * The file appears under its name only when all of it is on disk.
 */

/** Holds what would be garbage otherwise, until somebody has looked at it. */
export const rebuiltLease = 'wharf-doctor-rebuilt'

const [fileMode, directoryMode] = [0o644, 0o700]

/** Makes a new `meta.db`. @param blobs were read, and are sound. @throws `EEXIST` when there is one by now. */
export async function rebuildMetadata(
  exam: Examination,
  namespace: string,
  blobs: ReadonlyMap<string, Blob>,
): Promise<Outcome> {
  const { metadata: path } = exam.places
  const next = `${path}.rebuilt`
  fs.mkdirSync(dirname(path), { recursive: true, mode: directoryMode })
  // Of a rebuilding that was cut off: nobody else has that name.
  fs.rmSync(next, { force: true })
  const done = await write(exam, next, namespace, blobs)
  await syncFile(next)
  fs.linkSync(next, path)
  fs.rmSync(next)
  await syncDirectory(dirname(path))
  await syncDirectory(dirname(dirname(path)))
  return repaired(
    `made anew in namespace ${namespace}: ${counted(done.images, 'image')}, ` +
      `${counted(blobs.size, 'blob')}, ${counted(done.snapshots, 'snapshot')}; ` +
      `lease ${rebuiltLease} holds what no image does. Look at all of it with wharf doctor, ` +
      'and give images their names with ctr image tag',
  )
}

interface Done {
  readonly images: number
  readonly snapshots: number
}

async function write(
  exam: Examination,
  path: string,
  namespace: string,
  blobs: ReadonlyMap<string, Blob>,
): Promise<Done> {
  const { signal } = exam
  // Not durable before it is whole: it is synced once, at the end.
  const options = { signal, mode: fileMode, lock: tryLock, lockTimeoutMs: 1, noSync: true }
  await using database = await openDatabase(path, options)
  const snapshots = exam.backends.flatMap(namedSnapshots)
  const tips = await database.update((tx) => {
    migrate(tx)
    return writeSnapshots(tx, snapshots)
  }, exam)
  const images = await findImages(blobs.values(), signal)
  await database.update((tx) => images.forEach((image) => recordImage(tx, namespace, image)), exam)
  const held = await recordBlobs({ ...exam, metadata: database }, namespace, images, blobs)
  await hold(
    exam,
    database,
    tips.filter((tip) => !held.has(idOf(tip))),
  )
  return { images: images.length, snapshots: snapshots.length }
}

function recordImage(tx: Bucket, namespace: string, image: Image): void {
  const record = make(tx, [...imagesOf(namespace), image.name])
  writeTime(record, 'createdat', image.createdAt)
  writeImage(record, image, image.updatedAt)
}

/** Records all blobs; a lease holds those that are of no image. @returns snapshots that images hold. */
async function recordBlobs(
  exam: Examination & { readonly metadata: Database },
  namespace: string,
  images: readonly Image[],
  blobs: ReadonlyMap<string, Blob>,
): Promise<ReadonlySet<string>> {
  const empty = { containers: new Map(), blobs: new Map(), snapshots: new Map() }
  const catalog = { name: namespace, images, ingests: [], leases: [], ...empty }
  const { parts } = await readImages(exam.places.content, [catalog], exam.signal)
  const held = new Set<string>()
  const left = new Map(blobs)
  for (const part of parts) {
    const blob = blobs.get(part.descriptor.digest)
    if (!blob || !left.delete(blob.digest)) continue
    for (const snapshotter of await recordPart(exam, part, blob.size)) {
      held.add(idOf({ namespace, snapshotter, key: part.chainId }))
    }
  }
  await exam.metadata.update((tx) => {
    for (const { digest, size } of left.values()) {
      const record = make(tx, [...blobsOf(namespace), digest])
      const now = new Date()
      writeTimes(record, { createdAt: now, updatedAt: now })
      writeSize(record, size)
      make(openLease(tx, namespace), ['content']).put(digest, '')
    }
  }, exam)
  return held
}

async function hold(
  exam: Examination,
  database: Database,
  snapshots: readonly NamedSnapshot[],
): Promise<void> {
  await database.update((tx) => {
    for (const { namespace, snapshotter, key } of snapshots) {
      make(openLease(tx, namespace), ['snapshots', snapshotter]).put(key, '')
    }
  }, exam)
}

function openLease(tx: Bucket, namespace: string): Bucket {
  const path = [...leasesOf(namespace), rebuiltLease]
  const there = find(tx, path)
  if (there) return there
  const lease = make(tx, path)
  writeTime(lease, 'createdat', new Date())
  return lease
}

const idOf = ({
  namespace,
  snapshotter,
  key,
}: Pick<NamedSnapshot, 'namespace' | 'snapshotter' | 'key'>): string =>
  [namespace, snapshotter, key].join('\0')

async function syncFile(path: string): Promise<void> {
  await using file = await fs.promises.open(path)
  await file.sync()
}
