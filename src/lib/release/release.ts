import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/*
 * Where this program's own files are. There are two layouts, and only this module knows of them:
 *
 *     checkout                      release (made by tools/build.ts)
 *     ├── package.json              ├── package.json
 *     ├── bin/wharfd.mjs            ├── bin/wharfd.mjs
 *     ├── src/lib/release/…         ├── lib/*.mjs        everything bundled; one folder
 *     └── src/plugins/…/worker.ts   ├── lib/plugins.….worker.mjs
 *                                   └── cache/           compiled code of this Node
 */

const bundled = import.meta.filename.endsWith('.mjs')

/** The folder that `package.json` and `bin` are in. */
export const packageRoot: string = bundled
  ? join(import.meta.dirname, '..')
  : join(import.meta.dirname, '..', '..', '..')

/** Path of a program of this package, which may be absent: `bin/<name>`. */
export const programPath = (name: string): string => join(packageRoot, 'bin', name)

/**
 * A module that a thread or process begins with: its path below `src`, without the extension. The
 * build finds the calls of this function, so the argument is a literal.
 */
export const entryUrl = (module: string): URL =>
  pathToFileURL(
    bundled
      ? join(packageRoot, 'lib', `${entryName(module)}.mjs`)
      : join(packageRoot, 'src', `${module}.ts`),
  )

/** What the file of an entry is called in a release, without the extension. */
export const entryName = (module: string): string => module.replaceAll('/', '.')

/** This package's version. */
export const packageVersion: string = readVersion()

function readVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'))
  const has = typeof manifest === 'object' && manifest !== null && 'version' in manifest
  return has ? String(manifest.version) : '0'
}
