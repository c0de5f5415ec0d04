import { cpSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

import { build, type BuildOptions, type Metafile } from 'esbuild'

import { entryName, packageRoot } from '#lib/release/release.ts'

import { builtins } from './builtins.ts'
import { lateDescriptors } from './late-descriptors.ts'
import { mergeChunks } from './merge-chunks.ts'
import { warm } from './warm.ts'

/*
 * `npm run build`: bundles a release into dist/, which runs from wherever it is copied to. With
 * `-- --node`, the Node that builds it goes along. See src/lib/release/release.ts for the layout.
 */

const at = (path: string): string => join(packageRoot, path)
/** What programs in bin/ import. */
const mains = ['cli/main', 'daemon/main', 'shim/main']
/** What other programs import; `wharfd/plugin` is given to plugins by the daemon that loads them. */
const libraries = { './client': 'client/api', './daemon': 'daemon/embed' } as const
const programs = ['wharf.mjs', 'wharfd.mjs', 'containerd-shim-wharf-v1.mjs']
/** What all of a release looks like. */
const form = {
  absWorkingDir: packageRoot,
  bundle: true,
  // Names stay, for those who read stacks and profiles. What is shorter is loaded sooner.
  minifyWhitespace: true,
  minifySyntax: true,
  format: 'esm',
  platform: 'node',
  target: 'esnext',
  sourcemap: true,
  sourcesContent: false,
  legalComments: 'none',
  logLevel: 'warning',
} as const satisfies BuildOptions
const options = {
  ...form,
  outExtension: { '.js': '.mjs' },
  splitting: true,
  metafile: true,
  inject: [at('tools/older-node.ts')],
  plugins: [builtins, lateDescriptors],
} as const satisfies BuildOptions
const usage = `npm run build -- [options]: a release in dist/

  --out DIR   there instead; what is in DIR is removed
  --node      with the Node that builds it, for machines without
  --cold      without a cache of compiled code
`

async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      out: { type: 'string', default: at('dist') },
      node: { type: 'boolean' },
      cold: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  })
  if (values.help) {
    process.stdout.write(usage)
    return
  }
  const dist = resolve(values.out)
  rmSync(dist, { recursive: true, force: true })
  const bundled = await bundle(join(dist, 'lib'))
  mkdirSync(join(dist, 'bin'))
  for (const name of programs) copyProgram(name, dist)
  for (const name of ['LICENSE', 'README.md']) cpSync(at(name), join(dist, name))
  const native = copyNative(dist)
  writeFileSync(join(dist, 'package.json'), `${JSON.stringify(manifest(), null, 2)}\n`)
  writeFileSync(join(dist, 'LICENSES'), licenses([...bundled, ...native]))
  if (values.node) copyNode(dist)
  const warmed = values.cold ? 'not asked for' : await warm(dist)
  process.stdout.write(`built ${dist}${warmed === undefined ? '' : `; cold: ${warmed}`}\n`)
}

/** Bundles each entry by itself, so that it loads one file. Gives the packages that went in. */
async function bundle(outdir: string): Promise<readonly string[]> {
  const inputs = new Set<string>()
  for (const module of [...mains, ...Object.values(libraries), ...workers()]) {
    const name = entryName(module)
    const { metafile } = await build({
      ...options,
      outdir,
      entryPoints: [{ in: `src/${module}.ts`, out: name }],
      chunkNames: `${name}-[hash]`,
    })
    checkPlaces(metafile)
    const entry = Object.keys(metafile.outputs).find((path) => path.endsWith(`/${name}.mjs`))
    if (entry !== undefined) await mergeChunks(entry, metafile.outputs, form)
    for (const file of Object.keys(metafile.inputs)) inputs.add(file)
  }
  return packagesOf([...inputs])
}

/** Programs name what they import as package.json does, which Node reads for that. */
function copyProgram(name: string, dist: string): void {
  const file = join(dist, 'bin', name)
  cpSync(at(`bin/${name}`), file)
  const text = readFileSync(file, 'utf8').replace(/'#(.*)\.ts'/, (_, module: string) => {
    return `'../lib/${entryName(module)}.mjs'`
  })
  writeFileSync(file, text)
}

/** Modules that threads begin with: what `entryUrl` is called with. */
function workers(): string[] {
  const files = globSync('src/{cli,core,daemon,doctor,lib,plugin,plugins,proxy,shim,sys}/**/*.ts', {
    cwd: packageRoot,
    exclude: ['**/*.test.ts', 'src/lib/release/**'],
  })
  const calls = files.flatMap((file) => [
    ...readFileSync(at(file), 'utf8').matchAll(/\bentryUrl\(\s*'([^']+)'/g),
  ])
  return [...new Set(calls.flatMap(([, module]) => module ?? []))]
}

/** A module cannot know where it is when it has become part of another file. */
function checkPlaces(metafile: Metafile): void {
  const place = /new URL\([^)]*import\.meta|import\.meta\.(dirname|filename)/
  for (const file of Object.keys(metafile.inputs)) {
    if (!file.startsWith('src/') || file === 'src/lib/release/release.ts') continue
    if (!place.test(readFileSync(at(file), 'utf8'))) continue
    throw new Error(`${file} names files relative to itself; #lib/release/release.ts finds them`)
  }
}

function packagesOf(files: readonly string[]): string[] {
  const names = files.flatMap(
    (path) => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1] ?? [],
  )
  return [...new Set(names)].toSorted()
}

/** koffi finds its native part beside itself, so it stays a package. Gives the packages. */
function copyNative(dist: string): readonly string[] {
  const parts = globSync('node_modules/@koromix/koffi-linux-*', { cwd: packageRoot })
  const files = [
    'package.json',
    'index.cjs',
    'src/koffi/index.cjs',
    'src/koffi/src/static.cjs',
    'LICENSE.txt',
  ]
  for (const file of files)
    cpSync(at(`node_modules/koffi/${file}`), join(dist, 'node_modules/koffi', file))
  for (const part of parts) cpSync(at(part), join(dist, part), { recursive: true })
  return ['koffi', ...parts.map((part) => part.replace('node_modules/', ''))]
}

/** Where bin/ looks for a Node of its own first. */
function copyNode(dist: string): void {
  mkdirSync(join(dist, 'node_modules/.bin'), { recursive: true })
  cpSync(process.execPath, join(dist, 'node_modules/.bin/node'), { dereference: true })
}

function manifest(): object {
  const { name, version, description, license, engines, type, bin } = readManifest('package.json')
  const imports = Object.fromEntries(
    mains.map((module) => [`#${module}.ts`, `./lib/${entryName(module)}.mjs`]),
  )
  const exports = {
    ...Object.fromEntries(
      Object.entries(libraries).map(([path, module]) => [path, `./lib/${entryName(module)}.mjs`]),
    ),
    './package.json': './package.json',
  }
  return { name, version, description, license, type, engines, bin, imports, exports }
}

function readManifest(path: string): Readonly<Record<string, unknown>> {
  const parsed: unknown = JSON.parse(readFileSync(at(path), 'utf8'))
  return typeof parsed === 'object' && parsed !== null ? { ...parsed } : {}
}

/** The licenses of packages that are part of the release. */
function licenses(packages: readonly string[]): string {
  return packages
    .map((name) => {
      const dir = `node_modules/${name}`
      const { version, license } = readManifest(`${dir}/package.json`)
      const [file] = globSync(`${dir}/{LICENSE,LICENCE,license}*`, { cwd: packageRoot })
      const text = file === undefined ? '' : `\n${readFileSync(at(file), 'utf8').trim()}\n`
      return `${name} ${String(version)}: ${String(license)}\n${text}`
    })
    .join(`\n${'-'.repeat(80)}\n`)
}

try {
  await main(process.argv.slice(2))
} catch (err) {
  process.stderr.write(`wharf: ${err instanceof Error ? err.message : String(err)}\n`)
  process.exitCode = 1
}
