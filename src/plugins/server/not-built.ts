import type { DescService } from '@bufbuild/protobuf'

import { Mounts } from '#gen/services/mounts_pb.ts'
import { Controller, Store } from '#gen/services/sandbox_pb.ts'
import { Streaming } from '#gen/services/streaming_pb.ts'
import { Transfer } from '#gen/services/transfer_pb.ts'
import { unimplemented } from '#lib/errors/errors.ts'
import type { RegisteredService } from '#lib/rpc/rpc.ts'

/** What containerd serves; a daemon without one of them says so, method by method. */
const expected: readonly DescService[] = [Mounts, Controller, Store, Streaming, Transfer]

/** `services`, and refusals for those a client of containerd expects and nobody here serves. */
export function complete<C>(
  services: readonly RegisteredService<C>[],
): readonly RegisteredService<C>[] {
  const served = new Set(services.map(({ service }) => service.typeName))
  const missing = expected.filter(({ typeName }) => !served.has(typeName))
  return [...services, ...missing.map((service) => refuse<C>(service))]
}

/**
 * Why a service that has no description here is not served: those of CRI, whose clients look for
 * "unknown service" and their own name in the answer.
 */
export const whyAbsent = (service: string): string | undefined =>
  /^runtime\.v1(?:alpha\d)?\.(?:Runtime|Image)Service$/.test(service)
    ? 'the Kubernetes runtime interface (CRI) is not built yet in wharf'
    : undefined

/** A service whose every method says that it is not built yet. */
function refuse<C>(service: DescService): RegisteredService<C> {
  const refusal = (method: string) => (): never => {
    throw unimplemented(`${service.typeName}/${method} is not built yet in wharf`)
  }
  return {
    service,
    get impl() {
      return Object.fromEntries(service.methods.map((m) => [m.localName, refusal(m.name)]))
    },
  }
}
