import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import type { Plugin } from 'esbuild'

import { packageRoot } from '#lib/release/release.ts'

/** What makes descriptors in the modules that protoc-gen-es generates. */
const makers = {
  file: 'fileDesc',
  message: 'messageDesc',
  enum: 'enumDesc',
  service: 'serviceDesc',
} as const

const isMaker = (name: string | undefined): name is keyof typeof makers =>
  name !== undefined && Object.hasOwn(makers, name)

const makerFile = /\/@bufbuild\/protobuf\/dist\/esm\/codegenv2\/(file|message|enum|service)\.js$/
const generatedFile = /\/src\/gen\/.*_pb\.ts$/
const namedService = /(\* @generated from service ([\w.]+)\n[^]*?serviceDesc\(\w+, \d+)\)/g

/**
 * Has bundled code read the descriptors of protobuf when they are first looked at: a generated module
 * reads those of its whole file when it is loaded, and most of them nobody needs for a first answer.
 * See #lib/release/late.ts for how. Services know their names at once, since servers ask for these.
 */
export const lateDescriptors: Plugin = {
  name: 'late-descriptors',
  setup(build) {
    build.onLoad({ filter: makerFile }, ({ path }) => {
      const [, kind] = makerFile.exec(path) ?? []
      return isMaker(kind) ? { contents: lateMaker(path, makers[kind]) } : undefined
    })
    build.onLoad({ filter: generatedFile }, ({ path }) => ({
      contents: readFileSync(path, 'utf8').replaceAll(namedService, '$1, "$2")'),
      loader: 'ts',
    }))
  },
}

/** The module at `path`, whose function `name` makes something that is late. */
function lateMaker(path: string, name: string): string {
  const text = readFileSync(path, 'utf8')
  const eager = `export function ${name}(`
  if (!text.includes(eager)) throw new Error(`${path} has no ${name}`)
  const late = JSON.stringify(join(packageRoot, 'src/lib/release/late.ts'))
  return `import { ${name === 'serviceDesc' ? 'lateService' : 'late'} as late } from ${late}
${text.replace(eager, 'function eager(')}
export const ${name} = (...args) => late(eager, args)`
}
