import { stringify } from 'smol-toml'

import { notFound } from '#lib/errors/errors.ts'
import { formatDuration } from '#lib/go/duration.ts'
import { encodeTable, isTable, type Table, toSnake } from '#lib/toml/decode.ts'
import { formatKey, type KeyPath } from '#lib/toml/key.ts'
import { nearest } from '#lib/toml/nearest.ts'
import type { Plugin } from '#plugin/plugin.ts'
import { defaultTimeouts } from '#plugin/settings.ts'

import type { Config } from './config.ts'
import {
  defaultProcessors,
  meanings,
  processorDefaults,
  proxyDefaults,
  settings,
  timeoutMeanings,
} from './default.ts'
import { effectiveTable } from './effective.ts'
import { knownPlugins } from './known.ts'
import { isLive } from './live.ts'
import { locateKey } from './locate-key.ts'
import { legacyKeys } from './migrate-servers.ts'
import { auditUri } from './own-tables.ts'

/** What there is to say of one key. */
export interface Explanation {
  readonly key: string
  readonly meaning: string
  readonly default: unknown
  readonly value: unknown
  /** Where the value is from, in words. */
  readonly from: string
  /** What a change of it takes, in words. */
  readonly change: string
}

/**
 * Explains a key of any version of the configuration, or each key of a section.
 *
 * @throws `not_found` for a key that does not exist, naming the one that looks most like it.
 */
export function explain(text: string, config: Config): Explanation[] {
  const plugins = config.available
  const schema = schemaOf(config, plugins)
  const uris = Object.keys(isTable(schema['plugins']) ? schema['plugins'] : {})
  const path = text === 'audit' ? ['plugins', auditUri] : locateKey(text, uris)
  const moved = (legacyKeys[text] ?? []).map((key) => locateKey(`${text}.${key}`, uris))
  const keys = [...keysAt(schema, path), ...moved]
  if (keys.length === 0) throw noSuchKey(text, path, schema)
  return keys.map((key) => explainKey(key, schema, config, plugins))
}

/** `path`, if there is such a key, or every key of that section. */
function keysAt(schema: Table, path: KeyPath): KeyPath[] {
  const found = schemaAt(schema, path)
  if (found === undefined) return []
  return isTable(found) && Object.keys(found).length > 0 ? leavesOf(found, path) : [path]
}

/** An explanation as lines of text. */
export const explanationText = (it: Explanation): string =>
  [
    `key:      ${it.key}`,
    `meaning:  ${it.meaning}`,
    `default:  ${valueText(it.default)}`,
    `value:    ${valueText(it.value)}`,
    `from:     ${it.from}`,
    `change:   ${it.change}`,
    '',
  ].join('\n')

function explainKey(
  path: KeyPath,
  schema: Table,
  config: Config,
  plugins: readonly Plugin[],
): Explanation {
  const byDefault = schemaAt(schema, path)
  return {
    key: formatKey(path),
    meaning: meaningOf(path, plugins),
    default: byDefault,
    value: schemaAt(effectiveTable(config), path) ?? byDefault,
    from: originText(path, config),
    change: isLive(path, plugins) ? 'applied on SIGHUP' : 'needs a restart',
  }
}

/** Every key there is, with its default. */
function schemaOf(config: Config, plugins: readonly Plugin[]): Table {
  const built = plugins.map(({ uri, config: defaults }) => {
    const known: Table = knownPlugins[uri] ?? {}
    return [uri, { ...known, ...encodeTable(defaults) }] as const
  })
  const timeouts = [...config.timeouts.keys()].map((name) => [
    name,
    formatDuration(defaultTimeouts[name] ?? 0),
  ])
  const processors = Object.fromEntries(defaultProcessors.map(({ id, ...rest }) => [id, rest]))
  return {
    ...encodeTable(settings),
    timeouts: Object.fromEntries(timeouts),
    stream_processors: { '*': processorDefaults, ...processors },
    proxy_plugins: { '*': proxyDefaults },
    plugins: { ...knownPlugins, ...Object.fromEntries(built) },
  }
}

function schemaAt(schema: Table, path: KeyPath): unknown {
  let at: unknown = schema
  for (const name of path) {
    if (!isTable(at)) return undefined
    at = at[name] ?? at['*']
  }
  return at
}

function leavesOf(table: Table, path: KeyPath): KeyPath[] {
  return Object.entries(table).flatMap(([name, value]) => {
    const where = [...path, name]
    return isTable(value) && Object.keys(value).length > 0 ? leavesOf(value, where) : [where]
  })
}

function meaningOf(path: KeyPath, plugins: readonly Plugin[]): string {
  const [table = '', uri = '', key = ''] = path
  if (table === 'timeouts') return timeoutMeanings[uri] ?? 'A timeout of a plugin.'
  if (table !== 'plugins') return meanings[path.join('.')] ?? meanings[table] ?? ''
  const plugin = plugins.find((candidate) => candidate.uri === uri)
  const name = Object.keys(plugin?.config ?? {}).find((candidate) => toSnake(candidate) === key)
  if (name === undefined) return 'A key of containerd’s; it has no effect in wharfd.'
  return plugin?.describe[name] ?? 'A key of this plugin.'
}

/** Where the value at `path` was written. */
function originText(path: KeyPath, config: Config): string {
  const origin = config.tree.at(path)?.origin
  if (origin === undefined) return 'default'
  if (origin.flag !== undefined) return `flag ${origin.flag}`
  if (origin.file === undefined) return 'default'
  const line = config.lineOf(origin)
  const at = line === undefined ? origin.file : `${origin.file}:${line}`
  const key = formatKey(origin.key)
  if (origin.derived) return `${at}, follows from ${key}`
  return key === formatKey(path) ? at : `${at}, migration of ${key}`
}

/** A value as TOML would have it. */
function valueText(value: unknown): string {
  if (value === undefined) return 'none'
  return stringify({ value: isTable(value) ? [value] : value })
    .replace(/^value = /, '')
    .trim()
}

function noSuchKey(asked: string, path: KeyPath, schema: Table): Error {
  const all = leavesOf(schema, []).map(formatKey)
  const same = all.find((key) => key.endsWith(`.${path.at(-1) ?? ''}`))
  const hint = same ?? nearest(formatKey(path), all)
  return notFound(`key ${asked}${hint === undefined ? '' : `, did you mean ${hint}?`}`)
}
