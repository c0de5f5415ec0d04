import { readdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

import type { Logger } from '#core/context.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { alreadyExists, deadlineExceeded, describe, invalidArgument } from '#lib/errors/errors.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'
import { packageRoot } from '#lib/release/release.ts'
import { isPlugin, type Plugin } from '#plugin/plugin.ts'
import * as api from '#plugins/api.ts'

import { packageSpecifier, shareModules } from './modules.ts'

/** Where plugins of others are: what `plugin_dir` and `plugins_packages` say. */
export interface ExternalSources {
  /** A directory of ES modules; empty for none. */
  readonly pluginDir: string
  /** Names of packages, looked up from `pluginDir`, `configDir` and where this package is. */
  readonly packages: readonly string[]
  /** Where the configuration is. */
  readonly configDir: string
}

/** A module is only loaded here: what it does belongs into `init`. */
const loadMs = 10_000

/** Where `npm install --global` puts packages. */
const globalFolders = ['/usr/local/lib', '/usr/lib']

/** What can be loaded: `.d.ts` and tests are beside plugins, and no plugins. */
const isModule = (name: string): boolean =>
  /\.(js|mjs|ts)$/.test(name) && !/\.(d|test)\.ts$|\.test\.m?js$/.test(name)

/**
 * Loads the plugins of others. A module exports them by any name, or as an array `plugins`. One that
 * cannot be loaded is said in the log, with its name and why, and stops nothing else.
 *
 * @param known what is there already: two plugins with one URI are refused.
 */
export async function loadExternal(
  sources: ExternalSources,
  known: readonly Plugin[],
  log: Logger,
): Promise<Plugin[]> {
  const modules = [
    ...(await modulesIn(sources.pluginDir, log)),
    ...sources.packages.map((name) => ({ name, specifier: packageSpecifier(name) })),
  ]
  if (modules.length === 0) return []
  const folders = [sources.pluginDir, sources.configDir, packageRoot, ...globalFolders]
  shareOnce(folders.filter(Boolean).map((folder) => resolve(folder)))
  const plugins: Plugin[] = []
  for (const { name, specifier } of modules) {
    try {
      const found = pluginsOf(await load(specifier))
      checkNew(found, [...known, ...plugins])
      plugins.push(...found)
      log.info('loaded plugin module', { module: name, plugins: found.map(({ uri }) => uri) })
    } catch (err) {
      const fields = { module: name, error: describe(err), ...placeOf(err) }
      log.error('failed to load plugin module', fields)
    }
  }
  return plugins
}

/** File and line of what a module fails with, where its stack begins with them. */
function placeOf(err: unknown): { readonly at?: string } {
  const stack = err instanceof Error ? (err.stack ?? '') : ''
  // What strips types puts the place first; of what is thrown it is in the first frame.
  const [, at] = /^(?:.*\n)*? *(?:at )?(?:file:\/\/)?(\/[^\n:]+:\d+)/.exec(stack) ?? []
  return at === undefined || at.startsWith(`${packageRoot}/`) ? {} : { at }
}

interface ModuleName {
  readonly name: string
  readonly specifier: string
}

async function modulesIn(directory: string, log: Logger): Promise<ModuleName[]> {
  if (directory === '') return []
  try {
    const names = (await readdir(directory)).filter(isModule).toSorted()
    return names.map((name) => {
      const path = resolve(join(directory, name))
      return { name: path, specifier: pathToFileURL(path).href }
    })
  } catch (err) {
    if (hasErrno(err, 'ENOENT')) log.warn('plugin_dir does not exist', { path: directory })
    else log.error('cannot read plugin_dir', { path: directory, error: describe(err) })
    return []
  }
}

let sharing: Disposable | undefined

/** Modules may import more of them at any later time, so the last sharing stays. */
function shareOnce(folders: readonly string[]): void {
  sharing?.[Symbol.dispose]()
  sharing = shareModules({ 'wharfd/plugin': api }, folders)
}

/** Imports a module, unless it takes too long. */
async function load(specifier: string): Promise<object> {
  const late = new AbortController()
  using _timer = setTimeout(
    () => late.abort(deadlineExceeded(`it was not loaded within ${loadMs} ms`)),
    loadMs,
  )
  const loading: Promise<unknown> = import(specifier)
  const loaded = await raceAbort(loading, late.signal)
  return typeof loaded === 'object' && loaded !== null ? loaded : {}
}

function pluginsOf(loaded: object): Plugin[] {
  const found = new Set<Plugin>()
  for (const [name, value] of Object.entries(loaded)) {
    if (isPlugin(value)) found.add(value)
    if (name !== 'plugins') continue
    if (!Array.isArray(value)) throw invalidArgument('its export `plugins` is no array')
    for (const [at, entry] of value.entries()) {
      if (!isPlugin(entry)) throw invalidArgument(`plugins[${at}] was not made by definePlugin`)
      found.add(entry)
    }
  }
  if (found.size === 0) throw invalidArgument('it exports no plugin made by definePlugin')
  return [...found]
}

function checkNew(found: readonly Plugin[], known: readonly Plugin[]): void {
  for (const { uri } of found) {
    const twice = found.filter((plugin) => plugin.uri === uri).length > 1
    if (twice || known.some((plugin) => plugin.uri === uri)) {
      throw alreadyExists(`${uri}: plugin: id already registered`)
    }
  }
}
