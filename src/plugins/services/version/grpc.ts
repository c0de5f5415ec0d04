import { Version } from '#gen/services/version_pb.ts'
import { Counter, processMetrics } from '#lib/metrics/metrics.ts'
import { packageVersion } from '#lib/release/release.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, type RpcContext } from '#plugins/types.ts'

/** The containerd release whose API and behaviour this daemon has; clients compare it. */
const containerdVersion = 'v2.4.0'

/** What this daemon calls itself: the API it has, and who has it. */
const version = `${containerdVersion}+wharf.${packageVersion}`

/** The service `containerd.services.version.v1.Version`: the level of the API, and who has it. */
export const versionApi = (): RegisteredService<RpcContext> =>
  implement(Version, { version: () => ({ version, revision: '' }) })

/** `io.containerd.grpc.v1.version`; it also tells the version to whoever looks at metrics. */
export const versionApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'version',
  init() {
    const info = new Counter({
      name: 'containerd_build_info_total',
      help: 'The version of the daemon, in its labels.',
      labels: ['version', 'revision'],
    })
    info.with(version, '').value = 1
    const shown = processMetrics.add(info)
    return {
      grpc: [versionApi()],
      [Symbol.asyncDispose]: async () => await Promise.resolve(shown[Symbol.dispose]()),
    }
  },
})
