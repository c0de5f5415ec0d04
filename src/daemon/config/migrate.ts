import { invalidArgument } from '#lib/errors/errors.ts'

import { migrateCri } from './migrate-cri.ts'
import { namesToUris } from './migrate-names.ts'
import { migratePlugins } from './migrate-plugins.ts'
import { serversToPlugins } from './migrate-servers.ts'
import { ownTablesToPlugins } from './own-tables.ts'
import type { Branch } from './tree.ts'

/** The version that everything is brought to. */
export const latestVersion = 4

/**
 * Brings the tree of one file to the latest version, in place; the file itself stays as it is.
 *
 *     1 -> 2   plugins are called by URI instead of by a short name
 *     2 -> 3   plugins were split and renamed: the CRI plugin, the monitors
 *     3 -> 4   what listens is a plugin: [grpc], [ttrpc], [debug], [metrics]
 *
 * Files without a version are version 1. What is already in the newer form wins. Tables of version 3
 * in a file of version 4 are understood all the same, as nobody means them to be ignored.
 *
 * Source: upstream `cmd/containerd/server/config/config.go` and the plugins' `ConfigMigration`.
 *
 * @returns the version the file had.
 * @throws `invalid_argument` for a version that there is not.
 */
export function migrate(tree: Branch): number {
  const version = versionOf(tree)
  if (version < 2) namesToUris(tree)
  const plugins = tree.branch('plugins')
  if (version < latestVersion && plugins) {
    migrateCri(plugins)
    migratePlugins(plugins)
  }
  serversToPlugins(tree, version < latestVersion)
  ownTablesToPlugins(tree)
  const leaf = tree.leaf('version')
  const origin = leaf?.origin ?? { ...tree.origin, key: ['version'] }
  tree.set('version', { value: latestVersion, origin })
  return version
}

function versionOf(tree: Branch): number {
  const value = tree.leaf('version')?.value ?? 1
  const { file } = tree.origin
  const where = file === undefined ? '' : `failed to load TOML from ${file}: `
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) {
    throw invalidArgument(`${where}version must be a whole number, not ${JSON.stringify(value)}`)
  }
  if (value > latestVersion) {
    throw invalidArgument(
      `${where}expected containerd config version equal to or less than \`${latestVersion}\`, got \`${value}\``,
    )
  }
  // Version 0 was never defined; it means that there is none.
  return Math.max(value, 1)
}
