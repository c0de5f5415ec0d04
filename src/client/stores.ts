import type { TransferStores } from '#core/transfer/stores.ts'

import type { Session } from './session.ts'
import { unpackPlace } from './unpack.ts'

/** The stores of a daemon, for transfers that are made here. */
export const transferStores = (session: Session): TransferStores => ({
  content: session.content,
  images: session.images,
  leases: session.leases,
  unpackPlace: ({ snapshotter = session.settings.snapshotter }) =>
    unpackPlace(session, snapshotter),
})
