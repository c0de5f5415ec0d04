import { isDeepStrictEqual } from 'node:util'

import { encodeTable, isTable, type Table, toSnake } from '#lib/toml/decode.ts'
import { formatKey, type KeyPath } from '#lib/toml/key.ts'
import type { Plugin } from '#plugin/plugin.ts'

import type { Config } from './config.ts'
import { effectiveTable } from './effective.ts'

/** What differs between the configuration that runs and one that was read again. */
export interface Changes {
  /** Keys that can be applied at once. */
  readonly applied: readonly string[]
  /** Keys that wait for a restart. */
  readonly restart: readonly string[]
  /** New sections of plugins, in which only live keys have changed. */
  readonly sections: ReadonlyMap<string, object>
  /** What runs once the changes are applied. */
  readonly running: Config
}

/** Tables above the plugins that are applied at once, whole. */
const liveTables = new Set(['timeouts', 'stream_processors'])
/** Also what is over once the files have been read. */
const liveKeys = new Set(['debug.level', 'debug.format', 'debug.log_trace_id', 'imports', 'strict'])

/** Whether a change of `path` is applied without a restart. */
export function isLive(path: KeyPath, plugins: readonly Plugin[]): boolean {
  const [table = '', uri, key] = path
  if (table !== 'plugins') return liveTables.has(table) || liveKeys.has(path.join('.'))
  const plugin = plugins.find((candidate) => candidate.uri === uri)
  return plugin?.live.some((name) => toSnake(name) === key) ?? false
}

/** Compares what runs with what was read. */
export function compareConfigs(running: Config, read: Config): Changes {
  const plugins = running.available
  const applied: string[] = []
  const restart: string[] = []
  for (const path of changedKeys(running, read)) {
    const list = isLive(path, plugins) ? applied : restart
    list.push(formatKey(path))
  }
  const sections = changedSections(running, read, plugins)
  return { applied, restart, sections, running: advance(running, read, sections) }
}

function changedKeys(running: Config, read: Config): KeyPath[] {
  const before = flatten(effectiveTable(running))
  const after = flatten(effectiveTable(read))
  const keys = new Map([...before, ...after].map(([id, { path }]) => [id, path]))
  return [...keys]
    .filter(([id]) => !isDeepStrictEqual(before.get(id)?.value, after.get(id)?.value))
    .map(([, path]) => path)
    .filter((path) => isSetting(path, running))
}

/** Whether anything reads the key; others change nothing, at a restart either. */
function isSetting([table, uri = '', key = '']: KeyPath, { plugins }: Config): boolean {
  return table !== 'plugins' || key in encodeTable(plugins.get(uri) ?? {})
}

interface Flat {
  readonly path: KeyPath
  readonly value: unknown
}

/** Values by path; tables below a key of a section count as one value. */
function flatten(table: Table, path: KeyPath = []): Map<string, Flat> {
  const flat = new Map<string, Flat>()
  for (const [key, value] of Object.entries(table)) {
    const where = [...path, key]
    const depth = where[0] === 'plugins' ? 3 : 2
    if (!isTable(value) || where.length >= depth) {
      flat.set(formatKey(where), { path: where, value })
    } else for (const [id, inner] of flatten(value, where)) flat.set(id, inner)
  }
  return flat
}

/** For each plugin whose live keys have changed: what it runs with, with those keys as they were read. */
function changedSections(
  running: Config,
  read: Config,
  plugins: readonly Plugin[],
): ReadonlyMap<string, object> {
  const sections = new Map<string, object>()
  for (const { uri, live, config } of plugins) {
    const before = running.plugins.get(uri) ?? config
    const after = new Map(Object.entries(read.plugins.get(uri) ?? config))
    const next = Object.fromEntries(
      Object.entries(before).map(([key, value]) => [
        key,
        live.includes(key) ? after.get(key) : value,
      ]),
    )
    if (!isDeepStrictEqual(before, next)) sections.set(uri, next)
  }
  return sections
}

const advance = (running: Config, read: Config, sections: ReadonlyMap<string, object>): Config => ({
  ...running,
  imports: read.imports,
  strict: read.strict,
  debug: read.debug,
  timeouts: read.timeouts,
  streamProcessors: read.streamProcessors,
  plugins: new Map([...running.plugins, ...sections]),
})
