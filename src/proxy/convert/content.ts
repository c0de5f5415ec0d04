import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Info, Status } from '#core/content/content.ts'
import type {
  Info as InfoMessage,
  InfoSchema,
  Status as StatusMessage,
  StatusSchema,
} from '#gen/services/content_pb.ts'

import { dateFromProto, dateToProto } from './timestamp.ts'

/** A blob as it travels. */
export const infoToProto = (info: Info): MessageInitShape<typeof InfoSchema> => ({
  digest: info.digest,
  size: BigInt(info.size),
  createdAt: dateToProto(info.createdAt),
  updatedAt: dateToProto(info.updatedAt),
  labels: { ...info.labels },
})

/** The blob in a message. */
export const infoFromProto = (info: InfoMessage | undefined): Info => ({
  digest: info?.digest ?? '',
  size: Number(info?.size ?? 0),
  createdAt: dateFromProto(info?.createdAt),
  updatedAt: dateFromProto(info?.updatedAt),
  labels: info?.labels ?? {},
})

/** An upload as it travels. */
export const statusToProto = (status: Status): MessageInitShape<typeof StatusSchema> => ({
  startedAt: dateToProto(status.startedAt),
  updatedAt: dateToProto(status.updatedAt),
  ref: status.ref,
  offset: BigInt(status.offset),
  total: BigInt(status.total),
  expected: status.expected,
})

/** The upload in a message. */
export const statusFromProto = (status: StatusMessage | undefined): Status => ({
  ref: status?.ref ?? '',
  offset: Number(status?.offset ?? 0),
  total: Number(status?.total ?? 0),
  expected: status?.expected ?? '',
  startedAt: dateFromProto(status?.startedAt),
  updatedAt: dateFromProto(status?.updatedAt),
})
