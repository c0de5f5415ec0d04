import { formatKey, type KeyPath, parseKey } from '#lib/toml/key.ts'

import { migrate } from './migrate.ts'
import { type Origin, toTree } from './tree.ts'

/**
 * Where a key of any version is in the latest one: `grpc.address` is an entry of a server plugin, and
 * `plugins.cri.sandbox_image` one of the CRI image service. A key may begin with a plugin's URI, with
 * or without quotes.
 *
 * @throws `invalid_argument` when `text` is no key.
 */
export function locateKey(text: string, uris: readonly string[]): KeyPath {
  const path = pathOf(text, uris)
  const tree = toTree(probe(path), undefined)
  migrate(tree)
  for (const found of tree.leaves()) {
    if (isSame(found.leaf.origin, path)) return found.path
  }
  return path
}

/** Moves of a key must not depend on its value, nor on another that has to be there too. */
function probe(path: KeyPath): Record<string, unknown> {
  const root: Record<string, unknown> = {}
  let table = root
  for (const name of path.slice(0, -1)) {
    const inner = {}
    table[name] = inner
    table = inner
  }
  table[path.at(-1) ?? ''] = 'value'
  if (path[0] === 'grpc' && path.length === 2) table['tcp_address'] = 'value'
  if (path[0] === 'debug' && path.length === 2) table['address'] = 'value'
  return root
}

const isSame = ({ key, derived }: Origin, path: KeyPath): boolean =>
  !derived && formatKey(key) === formatKey(path)

function pathOf(text: string, uris: readonly string[]): KeyPath {
  const bare = text.replace(/^plugins\./, '').replaceAll(/["']/g, '')
  const uri = uris.find((candidate) => bare === candidate || bare.startsWith(`${candidate}.`))
  if (uri !== undefined) {
    const rest = bare.slice(uri.length + 1)
    return ['plugins', uri, ...(rest === '' ? [] : parseKey(rest))]
  }
  const open = /^(timeouts|stream_processors|proxy_plugins)\.(?!["'])(.+)$/.exec(text)
  if (open?.[1] === 'timeouts') return ['timeouts', open[2] ?? '']
  return parseKey(text)
}
