import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import type { Plugin } from 'esbuild'

import { packageRoot } from '#lib/release/release.ts'

import { descriptorShapes, plainFile } from './plain-descriptors.ts'

/** What makes descriptors in the modules that protoc-gen-es generates. */
const makers = {
  boot: 'boot',
  file: 'fileDesc',
  message: 'messageDesc',
  enum: 'enumDesc',
  service: 'serviceDesc',
} as const

const isMaker = (name: string | undefined): name is keyof typeof makers =>
  name !== undefined && Object.hasOwn(makers, name)

const makerFile =
  /\/@bufbuild\/protobuf\/dist\/esm\/codegenv2\/(boot|file|message|enum|service)\.js$/
const generatedFile = /\/src\/gen\/.*_pb\.ts$|\/@bufbuild\/protobuf\/dist\/esm\/wkt\/.*_pb\.js$/
const describedFile = /(fileDesc\()"([\w+/=]*)"/g
const namedService = /(\* @generated from service ([\w.]+)\n[^]*?serviceDesc\(\w+, \d+)\)/g

/**
 * Has bundled code read the descriptors of protobuf when they are first looked at: a generated module
 * reads those of its whole file when it is loaded, and most of them nobody needs for a first answer.
 * See #lib/release/late.ts for how. Services know their names at once, since servers ask for these.
 * The descriptor of a file is there in a plain form, for which the descriptor of descriptors is not needed.
 */
export const lateDescriptors: Plugin = {
  name: 'late-descriptors',
  setup(build) {
    build.onLoad({ filter: makerFile }, ({ path }) => {
      const [, kind] = makerFile.exec(path) ?? []
      return isMaker(kind) ? { contents: lateMaker(path, makers[kind]) } : undefined
    })
    build.onLoad({ filter: generatedFile }, ({ path }) => ({
      contents: readFileSync(path, 'utf8')
        .replaceAll(namedService, '$1, "$2")')
        .replaceAll(describedFile, (_, call: string, base64: string) => {
          return `${call}${JSON.stringify(plainFile(base64))}`
        }),
      loader: 'ts',
    }))
  },
}

/** The module at `path`, whose function `name` makes something that is late. */
function lateMaker(path: string, name: string): string {
  const text = name === 'fileDesc' ? plainReader(path) : readFileSync(path, 'utf8')
  const late = name === 'serviceDesc' ? 'lateService' : 'late'
  return `import { ${late} as late } from ${released('late')}
${replaceOnce(text, path, `export function ${name}(`, 'function eager(')}
export const ${name} = (...args) => late(eager, args)`
}

/** The module at `path`, which makes descriptors of files, with the plain form for the binary one. */
function plainReader(path: string): string {
  const read = 'fromBinary(FileDescriptorProtoSchema, base64Decode(b64))'
  const plain = "revive(shapes, 'google.protobuf.FileDescriptorProto', JSON.parse(b64))"
  return `import { revive } from ${released('plain')}
const shapes = ${JSON.stringify(descriptorShapes())}
${replaceOnce(readFileSync(path, 'utf8'), path, read, plain)}`
}

const released = (module: string): string =>
  JSON.stringify(join(packageRoot, `src/lib/release/${module}.ts`))

function replaceOnce(text: string, path: string, part: string, by: string): string {
  if (!text.includes(part)) throw new Error(`${path} has no ${part}`)
  return text.replace(part, () => by)
}
