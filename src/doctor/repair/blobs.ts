import { chmod, mkdir, rename } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

import { writeLabels, writeSize, writeTimes } from '#core/metadata/fields.ts'
import { blobsOf, buckets, find, make, schemaVersion } from '#core/metadata/schema.ts'
import type { Bucket } from '#lib/bolt/database.ts'

import { syncDirectory } from '#doctor/files.ts'
import type { Part } from '#doctor/image-graph.ts'
import type { Places } from '#doctor/places.ts'

import { databaseOf, type Recorder } from './records.ts'

/** Removes the records of a blob, as if it had never come. */
export async function forgetBlob(
  exam: Recorder,
  namespaces: readonly string[],
  digest: string,
): Promise<void> {
  if (namespaces.length === 0) return
  await databaseOf(exam).update((tx) => {
    for (const name of namespaces) {
      const blobs = find(tx, blobsOf(name))
      if (blobs?.bucket(digest)) blobs.deleteBucket(digest)
    }
  }, exam)
}

/** Corrects the size in the record of a blob. */
export async function resizeRecord(
  exam: Recorder,
  namespace: string,
  { digest, size }: { readonly digest: string; readonly size: number },
): Promise<void> {
  await databaseOf(exam).update((tx) => {
    writeSize(make(tx, [...blobsOf(namespace), digest]), size)
  }, exam)
}

/**
 * Gives a blob a record in the namespace of an image, which keeps what the blob refers to.
 *
 * @returns the snapshotters in which it keeps what the image is unpacked to.
 */
export async function recordPart(
  exam: Recorder,
  part: Part,
  size: number,
): Promise<readonly string[]> {
  const { namespace, descriptor, role, chainId, holds } = part
  return await databaseOf(exam).update((tx) => {
    const record = make(tx, [...blobsOf(namespace), descriptor.digest])
    const now = new Date()
    writeTimes(record, { createdAt: now, updatedAt: now })
    writeSize(record, size)
    const unpacked = role === 'config' ? snapshotsNamed(tx, namespace, chainId) : []
    const held = unpacked.map((name) => [`containerd.io/gc.ref.snapshot.${name}`, chainId])
    writeLabels(record, { ...holds, ...Object.fromEntries(held) })
    return unpacked
  }, exam)
}

/** The snapshotters in which a namespace has a snapshot of that name. */
function snapshotsNamed(tx: Bucket, namespace: string, key: string): readonly string[] {
  const snapshotters = find(tx, [schemaVersion, namespace, 'snapshots'])
  return Array.from(buckets(snapshotters))
    .filter(([, snapshots]) => find(snapshots, [key]))
    .map(([name]) => name)
}

/** Moves a file of the content store to `lost+found`, where no daemon looks. @returns where it is. */
export async function setAside({ lostAndFound }: Places, path: string): Promise<string> {
  const dir = join(lostAndFound, 'blobs', basename(dirname(path)))
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await chmod(lostAndFound, 0o700)
  const target = join(dir, basename(path))
  await rename(path, target)
  for (const each of [dir, dirname(path)]) await syncDirectory(each)
  return target
}
