import { Version } from '#gen/services/version_pb.ts'
import { implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, type RpcContext } from '#plugins/types.ts'

/** What this daemon answers for; a semantic version whose build part names the program. */
export interface VersionConfig {
  /** The containerd release whose API and behaviour this is, then wharf's own. */
  readonly version: string
  /** Of the source it was built from; empty in a checkout. */
  readonly revision: string
}

const defaults: VersionConfig = { version: 'v2.4.0+wharf.0.1.0', revision: '' }

/** `io.containerd.grpc.v1.version`. */
export const versionApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'version',
  init: () => ({
    grpc: [implement<RpcContext, typeof Version>(Version, { version: () => defaults })],
  }),
})
