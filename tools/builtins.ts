import { builtinModules } from 'node:module'

import type { Plugin } from 'esbuild'

/**
 * Modules of which a daemon uses functions and classes only, and none before its first answer:
 * bundled code loads them at the first call. Each takes some ms.
 */
const late = [
  'child_process',
  'crypto',
  'http',
  'inspector',
  'inspector/promises',
  'readline',
  'tls',
  'zlib',
]

/**
 * Has bundled code get Node's own modules from `process.getBuiltinModule`. An import statement makes
 * a facade of everything a module exports, for which Node loads what else it would load when it is
 * asked for (all of webcrypto, say): 25 ms of a daemon's start.
 */
export const builtins: Plugin = {
  name: 'builtins',
  setup(build) {
    build.onResolve({ filter: /^[a-z_:/0-9]+$/ }, ({ path, kind }) => {
      const name = path.replace(/^node:/, '')
      if (!builtinModules.includes(name)) return undefined
      return { path: name, namespace: kind === 'require-call' ? 'builtin-cjs' : 'builtin-esm' }
    })
    build.onLoad({ filter: /.*/, namespace: 'builtin-cjs' }, ({ path }) => ({
      contents: late.includes(path) ? lateModule(path) : `module.exports = ${moduleOf(path)}`,
    }))
    build.onLoad({ filter: /.*/, namespace: 'builtin-esm' }, ({ path }) => ({
      contents: facadeOf(path),
    }))
  },
}

const moduleOf = (name: string): string => `process.getBuiltinModule('node:${name}')`

const exportsOf = (name: string): readonly [string, unknown][] =>
  Object.entries(process.getBuiltinModule(name) ?? {}).filter(([key]) => /^[\w$]+$/.test(key))

/** `late(key)`: a function that stands for one of the module, also after `new`. */
const lateOf = (name: string): string => `
function late(key) {
  function standIn(...args) {
    const own = ${moduleOf(name)}[key]
    return new.target ? Reflect.construct(own, args) : Reflect.apply(own, this, args)
  }
  // Some functions tell util.promisify what they are as promises.
  const custom = Symbol.for('nodejs.util.promisify.custom')
  return Object.defineProperty(standIn, custom, { get: () => ${moduleOf(name)}[key][custom] })
}`

/** Something of a module that is loaded late; only functions and `constants` can wait. */
function lateMember(name: string, key: string, value: unknown): string {
  const own = `${moduleOf(name)}.${key}`
  if (typeof value === 'function') return `late('${key}')`
  if (key !== 'constants') return `(() => ${own})()`
  const getters = Object.keys(Object(value)).map(
    (member) => `get ${member}() { return ${own}.${member} }`,
  )
  return `{ ${getters.join(', ')} }`
}

/** What `require` gives of a module that is loaded late. */
function lateModule(name: string): string {
  const members = exportsOf(name).map(([key, value]) =>
    typeof value === 'function'
      ? `${key}: late('${key}')`
      : `get ${key}() { return ${moduleOf(name)}.${key} }`,
  )
  return `${lateOf(name)}\nmodule.exports = { ${members.join(', ')} }`
}

/** One export for each of the module's; those that nobody imports are left out as pure. */
function facadeOf(name: string): string {
  const isLate = late.includes(name)
  const exports = exportsOf(name).map(([key, value], index) => {
    const given = isLate ? lateMember(name, key, value) : `(() => ${moduleOf(name)}.${key})()`
    return `const e${index} = /* @__PURE__ */ ${given}\nexport { e${index} as ${key} }`
  })
  const all = `export default /* @__PURE__ */ ${moduleOf(name)}`
  return [isLate ? lateOf(name) : '', ...exports, all].join('\n')
}
