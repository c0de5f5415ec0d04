import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, resolve } from 'node:path'

import { build, type BuildOptions, type Metafile, type Plugin } from 'esbuild'

/*
 * esbuild puts what an entry shares with each set of modules that are loaded late into a chunk of its
 * own. Most of these an entry needs at once, and Node takes half a millisecond for each file:
 *
 *     entry ──► chunk-A, chunk-B        entry with A and B, which it exports too
 *       ┊          ▲                      ┊     ▲
 *     late ────────┘              ──►   late ───┘
 */

type Outputs = Metafile['outputs']

/** What an entry looks like, and what its paths start from. */
export type Form = BuildOptions & Readonly<Record<'absWorkingDir', string>>

/** Where a name of a chunk is found in the entry it has become part of. */
interface Merged {
  readonly entry: string
  /** By the file name of the chunk. */
  readonly prefixes: ReadonlyMap<string, string>
}

/** Merges into an entry, in place, the chunks that it loads at once. */
export async function mergeChunks(entry: string, outputs: Outputs, form: Form): Promise<void> {
  const at = (path: string): string => resolve(form.absWorkingDir, path)
  const closure = staticClosure(entry, outputs)
  const chunks = [...closure].filter((path) => path !== entry)
  if (chunks.length === 0) return
  const prefixes = new Map(chunks.map((path, index) => [basename(path), `m${index}_`]))
  const contents = [
    `export * from './${basename(entry)}'`,
    ...chunks.map((path) => exportsOf(path, outputs, prefixes.get(basename(path)) ?? '')),
  ].join('\n')
  await build({
    ...form,
    stdin: { contents, resolveDir: resolve(at(entry), '..') },
    outfile: at(entry),
    allowOverwrite: true,
    plugins: [lateStaysLate],
  })
  for (const path of Object.keys(outputs)) {
    if (!path.endsWith('.mjs') || closure.has(path)) continue
    redirect(at(path), { entry: basename(entry), prefixes })
  }
  for (const path of chunks) for (const end of ['', '.map']) rmSync(at(`${path}${end}`))
}

/** What is loaded with `entry`, and that itself. */
function staticClosure(entry: string, outputs: Outputs): ReadonlySet<string> {
  const closure = new Set<string>([entry])
  for (const path of closure) {
    for (const { kind, path: imported } of outputs[path]?.imports ?? []) {
      if (kind === 'import-statement' && imported in outputs) closure.add(imported)
    }
  }
  return closure
}

function exportsOf(path: string, outputs: Outputs, prefix: string): string {
  const names = outputs[path]?.exports.map((name) => `${name} as ${prefix}${name}`) ?? []
  return `export { ${names.join(', ')} } from './${basename(path)}'`
}

const lateStaysLate: Plugin = {
  name: 'late-stays-late',
  setup(pass) {
    pass.onResolve({ filter: /.*/ }, ({ path, kind }) =>
      kind === 'dynamic-import' ? { path, external: true } : undefined,
    )
  },
}

/** Has a module get from the entry what it got from chunks. */
function redirect(file: string, { entry, prefixes }: Merged): void {
  const statement = /import(?:\{([^}]*)\}from)?"\.\/([^"/]+)"/g
  const text = readFileSync(file, 'utf8').replaceAll(
    statement,
    (whole, names: string | undefined, chunk: string) => {
      const prefix = prefixes.get(chunk)
      if (prefix === undefined) return whole
      if (names === undefined) return `import"./${entry}"`
      const renamed = names.split(',').map((each) => {
        const [name = '', local = name] = each.trim().split(/\s+as\s+/)
        return `${prefix}${name} as ${local}`
      })
      return `import{${renamed.join(',')}}from"./${entry}"`
    },
  )
  writeFileSync(file, text)
}
