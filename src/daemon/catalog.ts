import { dirname } from 'node:path'

import type { Logger } from '#core/context.ts'
import type { Plugin } from '#plugin/plugin.ts'

import { builtins } from './builtins.ts'
import type { ConfigSource } from './config/config.ts'
import { peekSettings } from './config/decode.ts'
import { loadExternal } from './external/load.ts'

/** Everything a daemon can be made of: what is built in, and the plugins of others it is told of. */
export async function loadCatalog(source: ConfigSource, log: Logger): Promise<readonly Plugin[]> {
  const { pluginDir, pluginsPackages: packages } = peekSettings(source)
  if (pluginDir === '' && packages.length === 0) return builtins
  const configDir = dirname(source.files[0]?.path ?? '/')
  return [...builtins, ...(await loadExternal({ pluginDir, packages, configDir }, builtins, log))]
}
