import { timestampFromDate } from '@bufbuild/protobuf/wkt'

import type { Context } from '#core/context.ts'
import type { TaskManager } from '#core/runtime/runtime.ts'
import type { Warning } from '#core/warnings/warnings.ts'
import { Introspection, type PluginInfoRequest } from '#gen/services/introspection_pb.ts'
import { RuntimeRequestSchema } from '#gen/types/introspection_pb.ts'
import { CodedError, failedPrecondition, unimplemented } from '#lib/errors/errors.ts'
import { parseFilters } from '#lib/filters/filters.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { type PluginStatus, definePlugin, each } from '#plugin/plugin.ts'
import { ApiPlugin, type RpcContext, RuntimePlugin } from '#plugins/types.ts'
import { anyFromProto } from '#proxy/convert/any.ts'
import { unpack } from '#proxy/convert/pack.ts'

import { pidNamespace, readOrMakeUuid } from './identity.ts'
import { pluginToProto } from './plugins.ts'
import { IntrospectionService } from './service.ts'

/** What introspection looks at. */
export interface IntrospectionParts {
  /** Holds `uuid`. */
  readonly rootDir: string
  plugins(): readonly PluginStatus[]
  warnings(): readonly Warning[]
  /** By plugin id: those that can tell about a runtime. */
  readonly runtimes: ReadonlyMap<string, Pick<TaskManager, 'runtimeInfo'>>
}

/** The service `containerd.services.introspection.v1.Introspection`. */
export function introspectionApi(parts: IntrospectionParts): RegisteredService<RpcContext> {
  let uuid: Promise<string> | undefined
  return implement(Introspection, {
    plugins({ filters }) {
      const matches = parseFilters(filters)
      const chosen = parts.plugins().filter(({ plugin }) =>
        matches(([field]) => {
          if (field === 'type') return plugin.type.name
          return field === 'id' ? plugin.id : undefined
        }),
      )
      return { plugins: chosen.map(pluginToProto) }
    },
    async server() {
      uuid ??= readOrMakeUuid(parts.rootDir)
      try {
        const { pid } = process
        return {
          uuid: await uuid,
          pid: BigInt(pid),
          pidns: await pidNamespace(pid),
          deprecations: parts.warnings().map(warningToProto),
        }
      } catch (err) {
        uuid = undefined
        throw err
      }
    },
    pluginInfo: (request, ctx) => pluginInfo(ctx, parts, request),
  })
}

const warningToProto = ({ id, message, lastOccurrence }: Warning) => ({
  id,
  message,
  lastOccurrence: timestampFromDate(lastOccurrence),
})

async function pluginInfo(ctx: Context, parts: IntrospectionParts, request: PluginInfoRequest) {
  const { type, id } = request
  const status = parts.plugins().find((p) => p.plugin.type.name === type && p.plugin.id === id)
  if (!status) throw new CodedError('not_found', `plugin ${type}.${id} not found: not found`)
  const plugin = pluginToProto(status)
  const options = anyFromProto(request.options)
  if (!options) return { plugin }

  if (status.state !== 'running') {
    throw failedPrecondition('cannot get extra info, plugin not successfully loaded')
  }
  const runtime = type === RuntimePlugin.name ? parts.runtimes.get(id) : undefined
  if (!runtime?.runtimeInfo) throw unimplemented('plugin does not provided extra information')
  const { runtimePath, options: given } = unpack(RuntimeRequestSchema, options)
  return { plugin, extra: await runtime.runtimeInfo(ctx, runtimePath, anyFromProto(given)) }
}

/** `io.containerd.grpc.v1.introspection`. */
export const introspectionApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'introspection',
  requires: { introspection: IntrospectionService, runtimes: each(RuntimePlugin) },
  init: ({ rootDir, deps }) => {
    const { introspection, runtimes } = deps
    return {
      grpc: [
        introspectionApi({
          rootDir,
          plugins: () => introspection.plugins(),
          warnings: () => introspection.warnings(),
          runtimes,
        }),
      ],
    }
  },
})
