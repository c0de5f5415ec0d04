import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Info, Kind } from '#core/snapshots/snapshotter.ts'
import {
  type Info as InfoMessage,
  type InfoSchema,
  Kind as KindNumber,
} from '#gen/services/snapshots_pb.ts'

import { dateFromProto, dateToProto } from './timestamp.ts'

const kindToProto = {
  active: KindNumber.ACTIVE,
  committed: KindNumber.COMMITTED,
  view: KindNumber.VIEW,
} as const satisfies Record<Kind, KindNumber>

/** Upstream reads every other number as active. */
function kindFromProto(kind: KindNumber | undefined): Kind {
  if (kind === KindNumber.COMMITTED) return 'committed'
  return kind === KindNumber.VIEW ? 'view' : 'active'
}

/** A snapshot as it travels. */
export const snapshotToProto = (info: Info): MessageInitShape<typeof InfoSchema> => ({
  name: info.name,
  parent: info.parent,
  kind: kindToProto[info.kind],
  createdAt: dateToProto(info.createdAt),
  updatedAt: dateToProto(info.updatedAt),
  labels: { ...info.labels },
})

/** The snapshot in a message. */
export const snapshotFromProto = (info: InfoMessage | undefined): Info => ({
  kind: kindFromProto(info?.kind),
  name: info?.name ?? '',
  parent: info?.parent ?? '',
  labels: info?.labels ?? {},
  createdAt: dateFromProto(info?.createdAt),
  updatedAt: dateFromProto(info?.updatedAt),
})
