import { Version } from '#gen/services/version_pb.ts'
import { packageVersion } from '#lib/release/release.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, type RpcContext } from '#plugins/types.ts'

/** The containerd release whose API and behaviour this daemon has; clients compare it. */
const containerdVersion = 'v2.4.0'

/** The service `containerd.services.version.v1.Version`: the level of the API, and who has it. */
export function versionApi(): RegisteredService<RpcContext> {
  const version = `${containerdVersion}+wharf.${packageVersion}`
  return implement(Version, { version: () => ({ version, revision: '' }) })
}

/** `io.containerd.grpc.v1.version`. */
export const versionApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'version',
  init: () => ({ grpc: [versionApi()] }),
})
