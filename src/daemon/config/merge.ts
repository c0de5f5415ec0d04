import { isDeepStrictEqual } from 'node:util'

import { Branch, type Leaf, type Node } from './tree.ts'

/** Sections whose entries a later file replaces whole. */
const wholeEntries = new Set(['proxy_plugins', 'stream_processors', 'timeouts'])

/**
 * Adds what an imported file says to what is known so far, as upstream's `mergeConfig` does:
 *
 * - above the plugins a value that says something wins; an empty string, zero and `false` do not;
 *   lists are joined, without doubles;
 * - in `plugins`, tables are merged by key and everything else is replaced, also by nothing;
 * - entries of `proxy_plugins`, `stream_processors` and `timeouts` are replaced whole.
 */
export function merge(to: Branch, from: Branch): void {
  for (const [name, node] of from.entries) {
    if (name === 'plugins' && node instanceof Branch) mergeDeep(to.ensure(name), node)
    else if (wholeEntries.has(name) && node instanceof Branch) replaceEntries(to.ensure(name), node)
    else mergeSetting(to, name, node)
  }
}

function mergeDeep(to: Branch, from: Branch): void {
  for (const [name, node] of from.entries) {
    const old = to.get(name)
    if (old instanceof Branch && node instanceof Branch) mergeDeep(old, node)
    else to.set(name, node)
  }
}

function replaceEntries(to: Branch, from: Branch): void {
  for (const [name, node] of from.entries) to.set(name, node)
}

function mergeSetting(to: Branch, name: string, node: Node): void {
  const old = to.get(name)
  if (node instanceof Branch) {
    if (!(old instanceof Branch)) to.set(name, node)
    else for (const [key, inner] of node.entries) mergeSetting(old, key, inner)
    return
  }
  if (old === undefined || old instanceof Branch) to.set(name, node)
  else if (Array.isArray(old.value) && Array.isArray(node.value)) to.set(name, joined(old, node))
  else if (!isEmpty(node.value)) to.set(name, node)
}

/** Both lists; the origin is that of the list that added last. */
function joined(old: Leaf, added: Leaf): Leaf {
  const values: unknown[] = Array.isArray(old.value) ? [...old.value] : []
  const before = values.length
  for (const item of Array.isArray(added.value) ? added.value : []) {
    if (!values.some((value) => isDeepStrictEqual(value, item))) values.push(item)
  }
  return values.length === before ? old : { value: values, origin: added.origin }
}

const isEmpty = (value: unknown): boolean => value === '' || value === 0 || value === false
