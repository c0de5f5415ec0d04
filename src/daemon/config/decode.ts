import { invalidArgument } from '#lib/errors/errors.ts'
import { parseDuration } from '#lib/go/duration.ts'
import { decodeTable, encodeTable, isTable, type Problem, whyNoDuration } from '#lib/toml/decode.ts'
import { formatKey, type KeyPath } from '#lib/toml/key.ts'
import { nearest } from '#lib/toml/nearest.ts'
import type { Plugin } from '#plugin/plugin.ts'
import { defaultTimeouts } from '#plugin/settings.ts'

import { checkSettings } from './check.ts'
import type { Config, ConfigSource, ProxyPlugin, UnknownKey } from './config.ts'
import {
  defaultAddress,
  defaultProcessors,
  processorDefaults,
  proxyDefaults,
  settings,
} from './default.ts'
import { knownPlugins } from './known.ts'
import { legacyKeys, servers } from './migrate-servers.ts'
import { checkShape, type Findings } from './shape.ts'
import { type Branch, plain } from './tree.ts'

/** Tables above the plugins whose entries have free names. */
const openTables = ['plugins', 'timeouts', 'stream_processors', 'proxy_plugins'] as const

/**
 * The configuration that a migrated and merged tree means.
 *
 * @throws `invalid_argument` naming key, file and line of the first value that is of the wrong kind,
 * or of the first unknown key if the configuration is strict.
 */
export function decodeConfig(source: ConfigSource, plugins: readonly Plugin[]): Config {
  const { tree } = source
  const findings: Findings = { problems: [], inert: [] }
  const { problems } = findings
  const top = decodeTop(tree, problems)
  const sections = decodePlugins(tree.branch('plugins'), plugins, findings)
  const config: Config = {
    ...source,
    ...top,
    available: plugins,
    address: textOf(sections, servers.grpc) || defaultAddress,
    ttrpcAddress: textOf(sections, servers.ttrpc),
    timeouts: decodeTimeouts(tree.branch('timeouts'), problems),
    streamProcessors: decodeProcessors(tree.branch('stream_processors'), problems),
    proxyPlugins: decodeProxies(tree.branch('proxy_plugins'), problems),
    plugins: sections,
    unknownKeys: problems.flatMap((problem) => unknownOf(problem, source)),
    inertKeys: findings.inert,
  }
  throwFirst(problems, source)
  checkSettings(config)
  return config
}

/** The settings above the plugins, before anything is checked; what is wrong has its default. */
export const peekSettings = ({ tree }: ConfigSource): typeof settings => decodeTop(tree, [])

function decodeTop(tree: Branch, problems: Problem[]): typeof settings {
  const table = tree.toTable()
  for (const name of openTables) {
    if (name in table && !isTable(table[name])) {
      problems.push({ path: [name], reason: 'must be a table, not a value' })
    }
    delete table[name]
  }
  for (const [name, keys] of Object.entries(legacyKeys)) {
    if (name in settings || !isTable(table[name])) continue
    for (const key of Object.keys(table[name])) {
      problems.push({ path: [name, key], nearest: nearest(key, keys) })
    }
    delete table[name]
  }
  return decodeTable(settings, table, [], problems)
}

/** Each plugin's section, over its defaults. */
function decodePlugins(
  sections: Branch | undefined,
  plugins: readonly Plugin[],
  findings: Findings,
): ReadonlyMap<string, object> {
  const decoded = new Map<string, object>()
  for (const plugin of plugins) decoded.set(plugin.uri, plugin.config)
  for (const [uri, node] of sections?.entries ?? []) {
    const path = ['plugins', uri]
    const section = plain(node)
    const plugin = plugins.find((candidate) => candidate.uri === uri)
    if (!isTable(section)) findings.problems.push({ path, reason: 'must be a table, not a value' })
    else if (plugin) decoded.set(uri, decodeSection(plugin, section, path, findings))
    else decodeAbsent(uri, section, plugins, findings)
  }
  return decoded
}

/** A section of a plugin that is there; keys of containerd's that it lacks have no effect. */
function decodeSection(
  plugin: Plugin,
  section: Readonly<Record<string, unknown>>,
  path: KeyPath,
  { problems, inert }: Findings,
): object {
  const found: Problem[] = []
  const value = decodeTable(plugin.config, section, path, found)
  const missing: Record<string, unknown> = {}
  for (const problem of found) {
    const [key = ''] = problem.path.slice(path.length)
    if (problem.reason === undefined && key in (knownPlugins[plugin.uri] ?? {})) {
      missing[key] = section[key]
    } else problems.push(problem)
  }
  checkShape(knownPlugins[plugin.uri] ?? {}, missing, path, { problems, inert })
  return value
}

/** A section of a plugin that is not there: containerd's, or anybody's. */
function decodeAbsent(
  uri: string,
  section: Readonly<Record<string, unknown>>,
  plugins: readonly Plugin[],
  findings: Findings,
): void {
  const shape = knownPlugins[uri]
  if (shape) {
    checkShape(shape, section, ['plugins', uri], findings)
    return
  }
  const uris = [...plugins.map((plugin) => plugin.uri), ...Object.keys(knownPlugins)]
  findings.problems.push({ path: ['plugins', uri], nearest: nearest(uri, uris) })
}

function decodeTimeouts(table: Branch | undefined, problems: Problem[]): Map<string, number> {
  const timeouts = new Map(Object.entries(defaultTimeouts))
  for (const [name, node] of table?.entries ?? []) {
    const value = plain(node)
    const reason = typeof value === 'string' ? whyNoDuration(value) : 'must be a string'
    if (reason === undefined) timeouts.set(name, parseDuration(String(value)))
    else problems.push({ path: ['timeouts', name], reason })
  }
  return timeouts
}

function decodeProcessors(table: Branch | undefined, problems: Problem[]) {
  const processors = new Map(defaultProcessors.map((processor) => [processor.id, processor]))
  for (const [id, section] of sectionsOf(table, 'stream_processors', problems)) {
    const path = ['stream_processors', id]
    processors.set(id, { id, ...decodeTable(processorDefaults, section, path, problems) })
  }
  return [...processors.values()]
}

function decodeProxies(table: Branch | undefined, problems: Problem[]): ProxyPlugin[] {
  return sectionsOf(table, 'proxy_plugins', problems).map(([name, section]) => {
    const proxy = decodeTable(proxyDefaults, section, ['proxy_plugins', name], problems)
    const exports = Object.entries(proxy.exports).map(([key, value]) => [key, String(value)])
    return { name, ...proxy, exports: Object.fromEntries(exports) }
  })
}

function sectionsOf(table: Branch | undefined, name: string, problems: Problem[]) {
  return [...(table?.entries ?? [])].flatMap(([key, node]) => {
    const section = plain(node)
    if (isTable(section)) return [[key, section] as const]
    problems.push({ path: [name, key], reason: 'must be a table, not a value' })
    return []
  })
}

/** The address in the section of a server. */
function textOf(sections: ReadonlyMap<string, object>, uri: string): string {
  const { address } = encodeTable(sections.get(uri) ?? {})
  return typeof address === 'string' ? address : ''
}

function unknownOf(
  { path, reason, nearest: suggestion }: Problem,
  source: ConfigSource,
): UnknownKey[] {
  if (reason !== undefined) return []
  const origin = source.tree.at(path)?.origin
  if (origin?.file === undefined) return []
  const key = formatKey(origin.key)
  return [{ key, file: origin.file, line: source.lineOf(origin), nearest: suggestion }]
}

function throwFirst(problems: readonly Problem[], { tree, lineOf }: ConfigSource): void {
  const bad = problems.find(({ reason }) => reason !== undefined)
  if (bad?.reason === undefined) return
  const origin = tree.at(bad.path)?.origin
  const key = formatKey(origin?.flag === undefined ? (origin?.key ?? bad.path) : bad.path)
  const line = origin && lineOf(origin)
  const file = origin?.file === undefined ? '' : `config file "${origin.file}"`
  const where = line === undefined ? file : `${file}, line ${line}`
  const what = bad.reason.startsWith('must ') ? `${key} ${bad.reason}` : `${key}: ${bad.reason}`
  throw invalidArgument(where === '' ? what : `${where}: ${what}`)
}
