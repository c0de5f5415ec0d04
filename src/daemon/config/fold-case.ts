import { encodeTable } from '#lib/toml/decode.ts'

import { processorDefaults, proxyDefaults, settings } from './default.ts'
import { legacyKeys } from './migrate-servers.ts'
import { Branch } from './tree.ts'

/** Keys of tables, by name; `*` is an entry whose name is free. */
interface Names {
  readonly [name: string]: Names | true
}

const namesOf = (defaults: object): Names =>
  Object.fromEntries(Object.keys(encodeTable(defaults)).map((name) => [name, true]))

const legacy = (table: string): Names =>
  Object.fromEntries((legacyKeys[table] ?? []).map((name) => [name, true]))

const known: Names = {
  ...namesOf(settings),
  plugins: true,
  timeouts: true,
  cgroup: namesOf(settings.cgroup),
  debug: { ...namesOf(settings.debug), ...legacy('debug') },
  grpc: legacy('grpc'),
  metrics: legacy('metrics'),
  proxy_plugins: { '*': namesOf(proxyDefaults) },
  stream_processors: { '*': namesOf(processorDefaults) },
  ttrpc: legacy('ttrpc'),
}

/**
 * Gives keys above the plugins the case they have: containerd's parser takes `Root` for `root`, and a
 * daemon that did not would work on another directory. A key in the right case wins. In place.
 *
 * Source: https://pkg.go.dev/github.com/pelletier/go-toml/v2#Unmarshal
 */
export function foldCase(tree: Branch, names: Names = known): void {
  const entries = [...tree.entries]
  for (const [key, node] of entries) {
    const name = Object.hasOwn(names, key) ? key : key.toLowerCase()
    const isMeant = name !== key && Object.hasOwn(names, name) && tree.get(name) === undefined
    if (isMeant) {
      tree.take(key)
      tree.set(name, node)
    }
    const below = names[isMeant ? name : key] ?? names['*']
    if (node instanceof Branch && typeof below === 'object') foldCase(node, below)
  }
}
