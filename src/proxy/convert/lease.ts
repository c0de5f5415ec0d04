import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Lease } from '#core/leases/leases.ts'
import type { Lease as LeaseMessage, LeaseSchema } from '#gen/services/leases_pb.ts'

import { dateFromProto, dateToProto } from './timestamp.ts'

/** A lease as it travels. */
export const leaseToProto = (lease: Lease): MessageInitShape<typeof LeaseSchema> => ({
  id: lease.id,
  labels: { ...lease.labels },
  createdAt: dateToProto(lease.createdAt),
})

/** The lease in a message. */
export const leaseFromProto = (lease: LeaseMessage | undefined): Lease => ({
  id: lease?.id ?? '',
  labels: lease?.labels ?? {},
  createdAt: dateFromProto(lease?.createdAt),
})
