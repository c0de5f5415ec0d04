import { readFile } from 'node:fs/promises'

import { parse, TomlError } from 'smol-toml'

import { invalidArgument, notFound } from '#lib/errors/errors.ts'
import type { Table } from '#lib/toml/decode.ts'
import type { KeyPath } from '#lib/toml/key.ts'
import { locateKeys } from '#lib/toml/locate.ts'

import { foldCase } from './fold-case.ts'
import { type Branch, toTree } from './tree.ts'

/** One file as it was written. */
export interface Document {
  readonly path: string
  readonly tree: Branch
  /** The line of a key of this file, from 1. */
  lineOf(key: KeyPath): number | undefined
}

/**
 * Reads a config file.
 *
 * @throws `not_found` when it is missing, `invalid_argument` with line and column for broken TOML;
 * system errors as they are.
 */
export async function readDocument(path: string, signal?: AbortSignal): Promise<Document> {
  return parseDocument(await readText(path, signal), path)
}

/** Parses the text of a config file; `path` is for messages. @throws `invalid_argument` */
export function parseDocument(text: string, path: string): Document {
  const tree = toTree(parseToml(text, path), path)
  foldCase(tree)
  let lines: ReturnType<typeof locateKeys> | undefined
  return { path, tree, lineOf: (key) => (lines ??= locateKeys(text)).lineOf(key) }
}

async function readText(path: string, signal?: AbortSignal): Promise<string> {
  try {
    return await readFile(path, { encoding: 'utf8', ...(signal ? { signal } : {}) })
  } catch (err) {
    if (!(err instanceof Error && 'code' in err && err.code === 'ENOENT')) throw err
    throw notFound(`config file "${path}"`, { cause: err })
  }
}

function parseToml(text: string, path: string): Table {
  try {
    return parse(text)
  } catch (err) {
    if (!(err instanceof TomlError)) throw err
    const reason =
      err.message.split('\n')[0]?.replace('Invalid TOML document: ', '') ?? 'bad syntax'
    const where = `config file "${path}", line ${err.line}, column ${err.column}`
    // The parser's own message has the same reason again, above a drawing of several lines.
    throw invalidArgument(`${where}: ${reason}`)
  }
}
