import { dirname, isAbsolute, join, normalize } from 'node:path'

import { invalidArgument } from '#lib/errors/errors.ts'
import { glob } from '#lib/go/glob.ts'

import { type Document, readDocument } from './parse.ts'

/**
 * A file and everything it imports, breadth first, each path once. A pattern that matches nothing
 * imports nothing; a path that is not there is an error. Imports become absolute paths on the way.
 *
 * @throws `not_found` naming the missing file; see {@link readDocument} for the rest.
 */
export async function readWithImports(path: string, signal?: AbortSignal): Promise<Document[]> {
  const documents = new Map<string, Document>()
  const pending = [{ path, by: '' }]
  for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
    if (documents.has(next.path)) continue
    const document = await readImport(next.path, next.by, signal)
    documents.set(next.path, document)
    const by = document.path
    pending.push(...(await importsOf(document)).map((imported) => ({ path: imported, by })))
  }
  return [...documents.values()]
}

async function readImport(path: string, by: string, signal?: AbortSignal): Promise<Document> {
  try {
    return await readDocument(path, signal)
  } catch (err) {
    if (by === '') throw err
    throw new Error(`imported by "${by}"`, { cause: err })
  }
}

async function importsOf({ path, tree }: Document): Promise<string[]> {
  const leaf = tree.leaf('imports')
  if (leaf === undefined) return []
  const { value } = leaf
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) {
    throw invalidArgument(`config file "${path}": imports must be a list of strings`)
  }
  const patterns = value.map((item) => absolute(item, path))
  tree.set('imports', { ...leaf, value: patterns })
  try {
    const found = await Promise.all(patterns.map(resolve))
    return found.flat()
  } catch (err) {
    throw new Error(`config file "${path}": imports`, { cause: err })
  }
}

/** Relative paths are relative to the file that has them. */
const absolute = (path: string, file: string): string =>
  isAbsolute(path) ? normalize(path) : join(dirname(file), path)

/** Files that match; without an asterisk a path is a path, whatever else is in it. */
const resolve = async (pattern: string): Promise<string[]> =>
  pattern.includes('*') ? await glob(pattern) : [pattern]
