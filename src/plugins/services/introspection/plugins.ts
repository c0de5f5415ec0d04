import type { MessageInitShape } from '@bufbuild/protobuf'

import type { PluginSchema } from '#gen/services/introspection_pb.ts'
import { toStatus } from '#lib/rpc/status.ts'
import { type PluginStatus, type Requirements, requiredType, SkipPlugin } from '#plugin/plugin.ts'

type PluginInit = MessageInitShape<typeof PluginSchema>

/** How clients recognise a plugin that had nothing to do. Source: upstream `plugin.ErrSkipPlugin`. */
const skipText = 'skip plugin'

/** What a client is told of a plugin and how its start went. */
export function pluginToProto({ plugin, meta, error }: PluginStatus): PluginInit {
  const base: PluginInit = {
    type: plugin.type.name,
    id: plugin.id,
    requires: requiredTypes(plugin.requires),
    platforms: meta.platforms.map(platformToProto),
    exports: { ...meta.exports },
    capabilities: [...meta.capabilities],
  }
  return error === undefined ? base : { ...base, initErr: initError(error) }
}

/** Names of the types, each once: the services share one. */
const requiredTypes = (requires: Requirements): string[] => [
  ...new Set(Object.values(requires).map((need) => requiredType(need).name)),
]

function platformToProto(platform: string) {
  const [os = '', architecture = '', variant = ''] = platform.split('/')
  return { os, architecture, variant }
}

function initError(error: unknown) {
  const { code, message } = toStatus(error)
  if (!(error instanceof SkipPlugin) || message.endsWith(skipText)) return { code, message }
  return { code, message: `${message}: ${skipText}` }
}
