import { existsSync } from 'node:fs'
import { resolve } from 'node:path'

import type { Table } from '#lib/toml/decode.ts'
import type { Plugin } from '#plugin/plugin.ts'

import type { Config, ConfigSource, Overrides } from './config.ts'
import { decodeConfig } from './decode.ts'
import { defaultConfigPath } from './default.ts'
import { applyFlags } from './flags.ts'
import { readWithImports } from './imports.ts'
import { merge } from './merge.ts'
import { migrate } from './migrate.ts'
import { type Document, parseDocument } from './parse.ts'
import { Branch, type Origin, toTree } from './tree.ts'

/**
 * Reads the config file at `path` and what it imports. Without a path it is the one at the default
 * place; if that is not there, the defaults. Each file is migrated by itself, then they are merged in
 * the order they were found.
 *
 * @throws `not_found` when a named file is missing; `invalid_argument` with file and line for one that
 * is no TOML, and for a version that there is not.
 */
export async function readConfig(
  path: string | undefined,
  flags: Overrides = {},
  signal?: AbortSignal,
): Promise<ConfigSource> {
  const absent = path === undefined && !existsSync(defaultConfigPath)
  const file = resolve(path ?? defaultConfigPath)
  return combine(absent ? [] : await readWithImports(file, signal), flags)
}

/** Reads and decodes. @throws see {@link readConfig} and {@link decodeConfig} */
export const loadConfig = async (
  path: string | undefined,
  plugins: readonly Plugin[],
  flags: Overrides = {},
): Promise<Config> => decodeConfig(await readConfig(path, flags), plugins)

/** The configuration that the text of one file means; what it imports is left out. */
export const parseConfig = (
  text: string,
  plugins: readonly Plugin[],
  flags: Overrides = {},
  path = 'config.toml',
): Config => decodeConfig(combine([parseDocument(text, path)], flags), plugins)

/**
 * The configuration that a table means, in the names of the file: `{ version: 4, root, state }`.
 * For programs that hold a daemon; nothing is read from disk.
 *
 * @throws `invalid_argument` naming what is wrong in it.
 */
export function configure(table: Table, plugins: readonly Plugin[]): Config {
  const path = 'configuration'
  const document = { path, tree: toTree(table, path), lineOf: () => undefined }
  return decodeConfig(combine([document], {}), plugins)
}

function combine(documents: readonly Document[], flags: Overrides): ConfigSource {
  const tree = new Branch({ file: undefined, key: [] })
  const files = documents.map((document) => {
    const version = migrate(document.tree)
    merge(tree, document.tree)
    return { path: document.path, version }
  })
  applyFlags(tree, flags)
  const lineOf = ({ file, key }: Origin): number | undefined =>
    documents.find(({ path }) => path === file)?.lineOf(key)
  return { tree, files, lineOf }
}
