import { invalidArgument } from '#lib/errors/errors.ts'

/** A key as TOML nests it: `a."b.c".d` is `['a', 'b.c', 'd']`. */
export type KeyPath = readonly string[]

const bare = /^[A-Za-z0-9_-]+$/

/** A key path as it is written in a file: parts that need quotes have them. */
export const formatKey = (path: KeyPath): string =>
  path.map((part) => (bare.test(part) ? part : JSON.stringify(part))).join('.')

const part = /\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^."'\s]+))\s*(\.|$)/y

/** The parts of a dotted key. @throws `invalid_argument` when it is none. */
export function parseKey(text: string): KeyPath {
  const path: string[] = []
  let at = 0
  for (let more = true; more; ) {
    part.lastIndex = at
    const match = part.exec(text)
    if (match === null) throw invalidArgument(`key ${JSON.stringify(text)} is not a dotted key`)
    const [whole, double, single, plain, end] = match
    path.push(double === undefined ? (single ?? plain ?? '') : unescape(double))
    at += whole.length
    more = end === '.'
  }
  return path
}

const unescape = (text: string): string => text.replaceAll(/\\(.)/g, '$1')
