import type { Container } from '#core/containers/containers.ts'
import type { Image } from '#core/images/images.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Resource } from '#core/leases/leases.ts'
import { readContainer } from '#core/metadata/container-record.ts'
import { readLabels, readSize, readText } from '#core/metadata/fields.ts'
import { readImage } from '#core/metadata/image-record.ts'
import { resourcesOf } from '#core/metadata/lease-manager.ts'
import { buckets, find, keys, schemaVersion } from '#core/metadata/schema.ts'
import { readSnapshot, type SnapshotRecord } from '#core/metadata/snapshot-record.ts'
import type { Database, ReadBucket } from '#lib/bolt/database.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'

/** An upload that is under way, or was. */
export interface Ingest {
  readonly ref: string
  /** In the backend. */
  readonly name: string
  /** Digest of the blob it shares with the backend, which has no upload then. */
  readonly shared: string
}

/** Of a container, what it refers to: the whole of many would take much memory. */
export type ContainerRef = Pick<Container, 'id' | 'image' | 'snapshotter' | 'snapshotKey'>

export interface Lease {
  readonly id: string
  readonly resources: readonly Resource[]
}

/** A snapshot's record, with the keys of those on top of it as that says. */
export interface Snapshot extends SnapshotRecord {
  readonly children: readonly string[]
}

/** What a namespace has in `meta.db`, as far as it can be read. */
export interface Namespace {
  readonly name: string
  readonly images: readonly Image[]
  readonly containers: ReadonlyMap<string, ContainerRef>
  readonly blobs: ReadonlyMap<string, { readonly size: number; readonly labels: Labels }>
  readonly ingests: readonly Ingest[]
  /** By snapshotter and key. */
  readonly snapshots: ReadonlyMap<string, ReadonlyMap<string, Snapshot>>
  readonly leases: readonly Lease[]
}

/** Something that could not be read. */
export interface Unreadable {
  /** Where in the database: `default/images/docker.io/…`. */
  readonly path: string
  readonly why: string
  /** A page of the file is damaged, not what is in it: there may be more records that do not show. */
  readonly page: boolean
}

export interface Catalog {
  readonly namespaces: readonly Namespace[]
  readonly unreadable: readonly Unreadable[]
  /** Whether every record was seen. If not, what has none must not be taken for garbage. */
  readonly complete: boolean
}

/** Of a database that nobody can read. */
export const emptyCatalog = (): Catalog => ({ namespaces: [], unreadable: [], complete: false })

/**
 * Reads all records; what cannot be read is left out, and said. Without `whole` there may have been
 * others.
 */
export function readCatalog(database: Database, whole: boolean): Catalog {
  const reader = new Reader()
  const namespaces = database.view((tx) =>
    reader
      .all(find(tx, [schemaVersion]), '')
      .map(([name, bucket]) => readNamespace(reader, name, bucket)),
  )
  const { unreadable } = reader
  return { namespaces, unreadable, complete: whole && !unreadable.some(({ page }) => page) }
}

function readNamespace(reader: Reader, name: string, bucket: ReadBucket): Namespace {
  const { each } = reader
  const content = bucket.bucket('content')
  const snapshots = reader.all(bucket.bucket('snapshots'), `${name}/snapshots`)
  return {
    name,
    images: Array.from(each(bucket.bucket('images'), `${name}/images`, readImage).values()),
    containers: each(bucket.bucket('containers'), `${name}/containers`, readReferences),
    blobs: each(content?.bucket('blob'), `${name}/content/blob`, (blob) => ({
      size: readSize(blob),
      labels: readLabels(blob),
    })),
    ingests: Array.from(
      each(content?.bucket('ingests'), `${name}/content/ingests`, readIngest).values(),
    ),
    snapshots: new Map(
      snapshots.map(([snapshotter, inner]) => [
        snapshotter,
        each(inner, `${name}/snapshots/${snapshotter}`, (record, key) => ({
          ...readSnapshot(record, key),
          children: Array.from(keys(record.bucket('children'))),
        })),
      ]),
    ),
    leases: Array.from(
      each(bucket.bucket('leases'), `${name}/leases`, (lease, id) => ({
        id,
        resources: resourcesOf(lease),
      })).values(),
    ),
  }
}

/** Reads all of a container, so that what cannot be read shows, and keeps little of it. */
function readReferences(bucket: ReadBucket, name: string): ContainerRef {
  const { id, image, snapshotter, snapshotKey } = readContainer(bucket, name)
  return { id, image, snapshotter, snapshotKey }
}

const readIngest = (bucket: ReadBucket, ref: string): Ingest => ({
  ref,
  name: readText(bucket, 'ref'),
  shared: readText(bucket, 'expected'),
})

class Reader {
  readonly unreadable: Unreadable[] = []

  /** The buckets in `bucket`, up to where a page cannot be read. */
  all(bucket: ReadBucket | undefined, path: string): readonly [string, ReadBucket][] {
    const found: [string, ReadBucket][] = []
    try {
      for (const pair of buckets(bucket)) found.push(pair)
    } catch (err) {
      this.#fail(path, err, true)
    }
    return found
  }

  /** What `read` makes of each bucket in `bucket`. */
  readonly each = <T>(
    bucket: ReadBucket | undefined,
    path: string,
    read: (record: ReadBucket, name: string) => T,
  ): Map<string, T> => {
    const found = new Map<string, T>()
    for (const [name, record] of this.all(bucket, path)) {
      try {
        found.set(name, read(record, name))
      } catch (err) {
        this.#fail(`${path}/${name}`, err, hasCode(err, 'data_loss'))
      }
    }
    return found
  }

  #fail(path: string, err: unknown, page: boolean): void {
    this.unreadable.push({ path, why: describe(err), page })
  }
}
