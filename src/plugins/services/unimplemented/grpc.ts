import type { DescService } from '@bufbuild/protobuf'

import { Mounts } from '#gen/services/mounts_pb.ts'
import { Controller, Store } from '#gen/services/sandbox_pb.ts'
import { Streaming } from '#gen/services/streaming_pb.ts'
import { Transfer } from '#gen/services/transfer_pb.ts'
import { unimplemented } from '#lib/errors/errors.ts'
import type { RegisteredService } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, type RpcContext } from '#plugins/types.ts'

/** A service whose every method says that it is not built yet. */
function refuse(service: DescService): RegisteredService<RpcContext> {
  const refusal = (method: string) => (): never => {
    throw unimplemented(`${service.typeName}/${method} is not built yet in wharf`)
  }
  return {
    service,
    impl: Object.fromEntries(service.methods.map((m) => [m.localName, refusal(m.name)])),
  }
}

/** What containerd serves and wharf does not yet. */
export const unimplementedApis = (): RegisteredService<RpcContext>[] =>
  [Mounts, Controller, Store, Streaming, Transfer].map(refuse)

/** Answers for the services that have no plugin of their own yet. */
export const unimplementedApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'unimplemented',
  init: () => ({ grpc: unimplementedApis() }),
})
