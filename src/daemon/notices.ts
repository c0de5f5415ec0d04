import type { Logger } from '#core/context.ts'
import { formatKey } from '#lib/toml/key.ts'

import type { Config } from './config/config.ts'
import { latestVersion } from './config/migrate.ts'

/** Says what a configuration has that is wrong, old, or without effect: each once. */
export function logNotices(log: Logger, config: Config): void {
  for (const { key, file, line, nearest } of config.unknownKeys) {
    const at = line === undefined ? {} : { line }
    const hint = nearest === undefined ? {} : { nearest }
    log.warn('ignoring unknown key in the configuration', { key, ...hint, file, ...at })
  }
  for (const { path, version } of config.files) {
    if (version === latestVersion) continue
    log.info('configuration migrated; `wharfd config migrate` prints the new form', {
      file: path,
      version,
    })
  }
  const inert = inertNames(config)
  if (inert.length > 0) {
    log.info('these parts of the configuration have no effect in wharfd', { keys: inert })
  }
}

/** Keys by name; sections of plugins that are not built as a whole. */
function inertNames({ inertKeys, plugins }: Config): string[] {
  const names = inertKeys.map((path) => {
    const [table = '', uri = ''] = path
    return formatKey(table === 'plugins' && !plugins.has(uri) ? path.slice(0, 2) : path)
  })
  return [...new Set(names)]
}
