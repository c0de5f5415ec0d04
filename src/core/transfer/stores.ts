import type { Store } from '#core/content/content.ts'
import type { ImageStore } from '#core/images/images.ts'
import type { LeaseManager } from '#core/leases/leases.ts'
import type { UnpackPlace } from '#core/unpack/unpack.ts'

import type { UnpackTarget } from './transfer.ts'

/** What transfers work on: in the daemon the metadata's views, in the SDK those over a connection. */
export interface TransferStores {
  readonly content: Store
  readonly images: ImageStore
  readonly leases: LeaseManager
  /** Where images are unpacked to for `target`; undefined when nothing is set up for that. */
  unpackPlace(target: UnpackTarget): UnpackPlace | undefined
}
