import type { Store } from '#core/content/content.ts'
import type { ImageStore } from '#core/images/images.ts'
import { isConfig } from '#core/images/oci.ts'
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

/** Whether what has a config of this type is worth looking at: it is an image, or somebody unpacks such things. */
export const mayUnpack = (
  stores: Pick<TransferStores, 'unpackPlace'>,
  targets: readonly UnpackTarget[],
  configType: string,
): boolean =>
  isConfig(configType) ||
  targets.some((target) => stores.unpackPlace({ ...target, configType })?.configType === configType)
