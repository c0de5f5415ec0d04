import { describe, failedPrecondition, notFound } from '#lib/errors/errors.ts'

import {
  type Own,
  type Plugin,
  type PluginStatus,
  type PluginType,
  type Requirement,
  requiredType,
} from './plugin.ts'

export interface Running {
  readonly plugin: Plugin
  readonly instance: unknown
}

/** What requirements are looked up in. */
export interface Known {
  readonly running: readonly Running[]
  /** How the starts went so far: why what is required may not be there. */
  readonly statuses: readonly PluginStatus[]
  /** URIs of plugins that are not started. */
  readonly disabled: readonly string[]
}

/**
 * Plugins in an order where each comes after everything it requires. `definitions` are those that
 * one of them may start for itself.
 */
export function order(
  plugins: readonly Plugin[],
  definitions: readonly Plugin[] = plugins,
): Plugin[] {
  const ordered = new Set<Plugin>()

  const visit = (plugin: Plugin, path: readonly Plugin[]): void => {
    if (ordered.has(plugin)) return
    if (path.includes(plugin)) {
      const loop = [...path, plugin].map((p) => p.uri).join(' -> ')
      throw failedPrecondition(`plugin dependency loop: ${loop}`)
    }
    const needs = needsOf(plugin, definitions)
    for (const other of plugins) {
      if (needs.some((need) => meets(other, need))) visit(other, [...path, plugin])
    }
    ordered.add(plugin)
  }

  for (const plugin of plugins) visit(plugin, [])
  return [...ordered]
}

/**
 * What `plugin` requires of those that run, by the names it gave; what it starts for itself is left out.
 *
 * @throws `not_found`, `failed_precondition` when there is none or several of what must be one.
 */
export function resolve(plugin: Plugin, known: Known): Record<string, unknown> {
  const deps: Record<string, unknown> = {}
  for (const [name, need] of Object.entries(plugin.requires)) {
    if ('each' in need) deps[name] = instancesOf(need.each, known.running)
    else if (!('own' in need)) deps[name] = single(need, known)
  }
  return deps
}

/** Every instance of `type` that runs, by plugin id. */
export function instancesOf<T>(
  type: PluginType<T>,
  running: readonly Running[],
): ReadonlyMap<string, T> {
  const found = running.filter((r) => r.plugin.type === type)
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- `type` is the token it was made with
  return new Map(found.map((r) => [r.plugin.id, r.instance as T]))
}

/**
 * The plugin that one of `owners`, the last, wants one more of.
 *
 * @throws `not_found`; `failed_precondition` for a plugin that would start itself without end.
 */
export function ownDefinition(
  need: Own<unknown>,
  definitions: readonly Plugin[],
  owners: readonly Plugin[],
): Plugin {
  const found = definitions.find((plugin) => meets(plugin, need))
  if (!found) throw notFound(`no plugins registered for ${nameOf(need)}: plugin`)
  if (!owners.includes(found)) return found
  const loop = [...owners, found].map(({ uri }) => uri).join(' -> ')
  throw failedPrecondition(`plugin dependency loop: ${loop}`)
}

/** The only plugin that meets `need`. @throws in containerd's words, and with why. */
function single(need: Requirement, known: Known): unknown {
  const [first, ...others] = known.running.filter(({ plugin }) => meets(plugin, need))
  if (first === undefined) {
    const why = absence(need, known).join(', ')
    throw notFound(`no plugins registered for ${nameOf(need)}${why && ` (${why})`}: plugin`)
  }
  if (others.length === 0) return first.instance
  const uris = [first, ...others].map(({ plugin }) => plugin.uri).join(', ')
  throw failedPrecondition(
    `multiple plugins registered for ${nameOf(need)}: plugin: multiple instances: disable all but one of ${uris}`,
  )
}

/** What has become of the plugins that would meet `need`. */
function absence(need: Requirement, { statuses, disabled }: Known): string[] {
  const name = nameOf(need)
  const off = disabled.filter((uri) => uri === name || uri.startsWith(`${name}.`))
  return [
    ...off.map((uri) => `${uri} is disabled`),
    ...statuses
      .filter(({ plugin }) => meets(plugin, need))
      .map(({ plugin, state, error }) => `${plugin.uri} ${state}: ${describe(error)}`),
  ]
}

/** What must run before `plugin` does: what it starts for itself need not, but what that requires. */
const needsOf = (
  plugin: Plugin,
  definitions: readonly Plugin[],
  owners: readonly Plugin[] = [],
): Requirement[] =>
  Object.values(plugin.requires).flatMap((need) => {
    if (!('own' in need)) return [need]
    const path = [...owners, plugin]
    return definitions
      .filter((inner) => meets(inner, need) && !path.includes(inner))
      .flatMap((inner) => needsOf(inner, definitions, path))
  })

const meets = (plugin: Plugin, need: Requirement): boolean =>
  plugin.type === requiredType(need) && (!('id' in need) || plugin.id === need.id)

/** A type, or the URI of one plugin. */
const nameOf = (need: Requirement): string =>
  'id' in need ? `${requiredType(need).name}.${need.id}` : requiredType(need).name
