import { MetricsSchema as V1MetricsSchema } from '#gen/cgroups/v1_pb.ts'
import { MetricsSchema as V2MetricsSchema } from '#gen/cgroups/v2_pb.ts'
import { notFound } from '#lib/errors/errors.ts'
import { cgroupMode, cgroupPaths } from '#sys/cgroup.ts'

import { readMetrics as readV1 } from './v1.ts'
import { readMetrics as readV2 } from './v2.ts'

/** What a container uses, as `Stats` answers it: of a type that depends on the host's cgroups. */
export interface Stats {
  readonly typeUrl: string
  readonly value: Uint8Array
}

/** The control groups of a container, which it keeps for its life. */
export class ContainerCgroups {
  readonly #paths: ReadonlyMap<string, string>

  private constructor(paths: ReadonlyMap<string, string>) {
    this.#paths = paths
  }

  /** Those that `pid` is in. @throws `not_found` when it has ended. */
  static of(pid: number): ContainerCgroups {
    try {
      return new ContainerCgroups(cgroupPaths(pid))
    } catch (err) {
      throw notFound('cgroup does not exist', { cause: err })
    }
  }

  /** What they count, now. */
  read(): Stats {
    if (cgroupMode() !== 'unified') {
      return { typeUrl: V1MetricsSchema.typeName, value: readV1(this.#paths) }
    }
    const unified = this.#paths.get('')
    if (unified === undefined) throw notFound('cgroup does not exist')
    return { typeUrl: V2MetricsSchema.typeName, value: readV2(unified) }
  }
}
