import { MetricsSchema as V1MetricsSchema } from '#gen/cgroups/v1_pb.ts'
import { MetricsSchema as V2MetricsSchema } from '#gen/cgroups/v2_pb.ts'
import { notFound } from '#lib/errors/errors.ts'
import { cgroupMode } from '#sys/cgroup.ts'

import { readMetrics as readV1 } from './v1.ts'
import { readMetrics as readV2 } from './v2.ts'

/** What a container uses, as `Stats` answers it: of a type that depends on the host's cgroups. */
export interface Stats {
  readonly typeUrl: string
  readonly value: Uint8Array
}

/** What the control groups of a container count now: directories by controller. @throws `not_found` */
export function readStats(groups: ReadonlyMap<string, string>): Stats {
  if (cgroupMode() !== 'unified') {
    return { typeUrl: V1MetricsSchema.typeName, value: readV1(groups) }
  }
  const unified = groups.get('')
  if (unified === undefined) throw notFound('cgroup does not exist')
  return { typeUrl: V2MetricsSchema.typeName, value: readV2(unified) }
}
