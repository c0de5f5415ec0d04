import { builtinModules } from 'node:module'

import type { Plugin } from 'esbuild'

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
      contents: `module.exports = ${moduleOf(path)}`,
    }))
    build.onLoad({ filter: /.*/, namespace: 'builtin-esm' }, ({ path }) => ({
      contents: facadeOf(path),
    }))
  },
}

const moduleOf = (name: string): string => `process.getBuiltinModule('node:${name}')`

/** One export for each of the module's; those that nobody imports are left out as pure. */
function facadeOf(name: string): string {
  const names = Object.keys(process.getBuiltinModule(name) ?? {}).filter((key) =>
    /^[\w$]+$/.test(key),
  )
  const exports = names.map((key, index) => {
    const value = `const e${index} = /* @__PURE__ */ (() => m.${key})()`
    return `${value}\nexport { e${index} as ${key} }`
  })
  return [`const m = /* @__PURE__ */ ${moduleOf(name)}`, 'export default m', ...exports].join('\n')
}
