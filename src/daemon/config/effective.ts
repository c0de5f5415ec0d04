import { formatDuration } from '#lib/go/duration.ts'
import { encodeTable, isTable, type Table } from '#lib/toml/decode.ts'

import type { Config } from './config.ts'
import { settingsOf } from './default.ts'
import { plain } from './tree.ts'

/**
 * A configuration as a file would say it: every setting, every key of the plugins that are built, and
 * whatever else was said in a section.
 */
export const effectiveTable = (config: Config): Table => ({
  ...encodeTable(settingsOf(config)),
  timeouts: byName([...config.timeouts].map(([name, ms]) => [name, formatDuration(ms)])),
  stream_processors: byName(config.streamProcessors.map(({ id, ...rest }) => [id, rest])),
  proxy_plugins: byName(config.proxyPlugins.map(({ name, ...rest }) => [name, rest])),
  plugins: effectivePlugins(config),
})

/** What was said, completed by what the plugins have. */
function effectivePlugins(config: Config): Table {
  const sections = new Map<string, Table>()
  for (const [uri, node] of config.tree.branch('plugins')?.entries ?? []) {
    const section = plain(node)
    if (isTable(section)) sections.set(uri, section)
  }
  for (const [uri, section] of config.plugins) {
    const decoded = encodeTable(section)
    if (Object.keys(decoded).length === 0) continue
    sections.set(uri, { ...sections.get(uri), ...decoded })
  }
  return byName([...sections])
}

const byName = (entries: readonly (readonly [string, unknown])[]): Table =>
  Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)))
