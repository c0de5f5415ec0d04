import type { Store } from '#core/content/content.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'

import { Claims } from './claims.ts'
import { SnapshotNumbers } from './snapshot-numbers.ts'

/** The content store that all namespaces share, and who is working on what in it. */
export interface ContentBackend {
  readonly store: Store
  /** By digest. */
  readonly blobs: Claims
  /** By name of the upload in the backend. */
  readonly ingests: Claims
}

/** A snapshotter that all namespaces share, and who is working on what in it. */
export interface SnapshotBackend {
  readonly name: string
  readonly snapshotter: Snapshotter
  /** By key in one namespace's view: `<namespace>/<key>`. */
  readonly views: Claims
  /** By name in the backend. */
  readonly snapshots: Claims
  /** For names in the backend. */
  readonly numbers: SnapshotNumbers
}

export const contentBackend = (store: Store): ContentBackend => ({
  store,
  blobs: new Claims(),
  ingests: new Claims(),
})

export const snapshotBackend = (name: string, snapshotter: Snapshotter): SnapshotBackend => ({
  name,
  snapshotter,
  views: new Claims(),
  snapshots: new Claims(),
  numbers: new SnapshotNumbers(),
})
