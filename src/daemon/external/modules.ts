import { registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'

import { notFound } from '#lib/errors/errors.ts'
import { packageRoot } from '#lib/release/release.ts'

/** Modules of this program that others may import, by what they are called. */
export type SharedModules = Readonly<Record<string, Readonly<Record<string, unknown>>>>

const shared = Symbol.for('wharfd.modules')
/** A module of this package, to which its other exports resolve. */
const inside = pathToFileURL(`${packageRoot}/plugins.mjs`).href
const packageScheme = 'wharfd-package:'
const moduleScheme = 'wharfd:'

/**
 * Makes modules outside this program able to import some of those inside it, wherever they are:
 * `import { definePlugin } from 'wharfd/plugin'` gives what the program itself uses, not a copy. Other
 * names that begin with `wharfd/` are what this package exports. While the result is not disposed.
 */
export function shareModules(
  modules: SharedModules,
  packageFolders: readonly string[],
): Disposable {
  Reflect.set(globalThis, shared, modules)
  const hooks = registerHooks({
    resolve(specifier, context, next) {
      if (Object.hasOwn(modules, specifier)) {
        return { url: `${moduleScheme}${specifier}`, format: 'module', shortCircuit: true }
      }
      if (specifier.startsWith('wharfd/')) return next(specifier, { ...context, parentURL: inside })
      if (!specifier.startsWith(packageScheme)) return next(specifier, context)
      const name = specifier.slice(packageScheme.length)
      for (const folder of packageFolders) {
        const parentURL = pathToFileURL(`${folder}/plugins.mjs`).href
        const found = unlessMissing(() => next(name, { ...context, parentURL }))
        if (found !== undefined) return found
      }
      throw notFound(`no such package in node_modules of ${packageFolders.join(', ')}`)
    },
    load(url, context, next) {
      const name = url.slice(moduleScheme.length)
      if (!url.startsWith(moduleScheme) || !Object.hasOwn(modules, name)) return next(url, context)
      return { format: 'module', source: sourceOf(name, modules[name]), shortCircuit: true }
    },
  })
  return { [Symbol.dispose]: () => hooks.deregister() }
}

/** What to import for the package `name`, as the first of the folders that finds it does. */
export const packageSpecifier = (name: string): string => `${packageScheme}${name}`

/** A module that passes on what is there already. */
function sourceOf(name: string, exports: object = {}): string {
  const from = `globalThis[Symbol.for('wharfd.modules')][${JSON.stringify(name)}]`
  return Object.keys(exports)
    .map((key) => `export const ${key} = ${from}.${key}\n`)
    .join('')
}

/** What `resolve` gives; undefined when there is nothing by that name where it looks. */
function unlessMissing<T>(resolve: () => T): T | undefined {
  try {
    return resolve()
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'ERR_MODULE_NOT_FOUND')
      return undefined
    throw err
  }
}
