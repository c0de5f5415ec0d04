import { resolve } from 'node:path'

import type { Overrides } from './config.ts'
import { servers } from './migrate-servers.ts'
import type { Branch } from './tree.ts'

/**
 * Puts what the command line says over what the files say. The ttrpc socket follows the gRPC socket
 * unless a file gives it an address of its own.
 *
 * Source: upstream `applyFlags`.
 */
export function applyFlags(tree: Branch, flags: Overrides): void {
  const { root, state, level } = flags
  const address = flags.address && resolveSocket(flags.address)
  if (root) put(tree, 'root', resolve(root), '--root')
  if (state) put(tree, 'state', resolve(state), '--state')
  if (level) put(tree.ensure('debug'), 'level', level, '--log-level')
  if (!address) return
  const plugins = tree.ensure('plugins')
  const grpc = plugins.ensure(servers.grpc)
  put(grpc, 'address', address, '--address')
  const said = plugins.branch(servers.ttrpc)
  const own = said?.leaf('address')
  if (own ? own.origin.derived !== true : said !== undefined) return
  const ttrpc = plugins.ensure(servers.ttrpc)
  put(ttrpc, 'address', `${address}.ttrpc`, '--address')
  for (const key of ['uid', 'gid']) {
    const leaf = grpc.leaf(key)
    if (leaf && !ttrpc.get(key)) ttrpc.set(key, leaf)
  }
}

/** Paths are of where the command was called; addresses of other kinds are refused later. */
const resolveSocket = (address: string): string =>
  /^(@|[a-z]+:)/.test(address) ? address : resolve(address)

function put(table: Branch, key: string, value: string, flag: string): void {
  table.set(key, { value, origin: { file: undefined, key: [key], flag } })
}
