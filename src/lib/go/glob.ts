import { lstat, readdir } from 'node:fs/promises'

import { invalidArgument } from '#lib/errors/errors.ts'

/*
 * File name patterns as Go's `path/filepath` has them, and nothing more: a shell's `**` and `{a,b}`
 * are plain characters here, and names that begin with a dot are names like all others.
 *
 *     *        any number of characters    [a-c]   one of these
 *     ?        one character               [^a-c]  one that is none of these
 *     \c       the character c
 *
 * None of them matches a slash. Source: https://pkg.go.dev/path/filepath#Match, #Glob
 */

/**
 * Files whose absolute path matches `pattern`, in the order of their names. Directories that cannot
 * be read have none.
 *
 * @throws `invalid_argument` for a pattern that is none.
 */
export async function glob(pattern: string): Promise<string[]> {
  const segments = pattern.split('/').slice(1)
  const matchers = segments.map((segment) =>
    hasMeta(segment) ? matcherOf(segment, pattern) : segment,
  )
  let paths = ['']
  for (const matcher of matchers) {
    const found = await Promise.all(
      paths.map(async (path) =>
        typeof matcher === 'string' ? [`${path}/${matcher}`] : await namesIn(path, matcher),
      ),
    )
    paths = found.flat()
  }
  const there = await Promise.all(paths.map(exists))
  return paths.filter((_path, index) => there[index])
}

/** Whether `name` matches `pattern`, neither of which has a slash. @throws see {@link glob} */
export const matches = (pattern: string, name: string): boolean => matcherOf(pattern).test(name)

const hasMeta = (text: string): boolean => /[*?[\\]/.test(text)

async function namesIn(directory: string, matcher: RegExp): Promise<string[]> {
  try {
    const names = await readdir(directory === '' ? '/' : directory)
    return names
      .filter((name) => matcher.test(name))
      .toSorted()
      .map((name) => `${directory}/${name}`)
  } catch {
    return []
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path === '' ? '/' : path)
    return true
  } catch {
    return false
  }
}

/** The characters of a pattern that have not been read yet. */
type Rest = string[]

/** What a name has to look like; `whole` is the pattern that `segment` is of, for messages. */
function matcherOf(segment: string, whole = segment): RegExp {
  const bad = (): Error => invalidArgument(`${whole}: syntax error in pattern`)
  const rest: Rest = Array.from(segment)
  let source = ''
  for (let next = rest.shift(); next !== undefined; next = rest.shift()) {
    if (next === '*') source += '.*'
    else if (next === '?') source += '.'
    else if (next === '[') source += classOf(rest, bad)
    else source += literal(next === '\\' ? taken(rest, bad) : next)
  }
  return new RegExp(`^${source}$`, 'su')
}

/** A class after its opening bracket. It has a range at least, and one that is reversed is empty. */
function classOf(rest: Rest, bad: () => Error): string {
  const isNegated = rest[0] === '^'
  if (isNegated) rest.shift()
  let ranges = ''
  do {
    const from = member(rest, bad)
    let to = from
    if (rest[0] === '-') {
      rest.shift()
      to = member(rest, bad)
    }
    if ((from.codePointAt(0) ?? 0) <= (to.codePointAt(0) ?? 0)) {
      ranges += `${literal(from)}-${literal(to)}`
    }
  } while (rest[0] !== ']')
  rest.shift()
  if (ranges === '') return isNegated ? '.' : '(?!)'
  return isNegated ? `[^${ranges}]` : `[${ranges}]`
}

/** One end of a range, after which the class goes on. */
function member(rest: Rest, bad: () => Error): string {
  const first = taken(rest, bad)
  if (first === '-' || first === ']') throw bad()
  const character = first === '\\' ? taken(rest, bad) : first
  if (rest.length === 0) throw bad()
  return character
}

function taken(rest: Rest, bad: () => Error): string {
  const next = rest.shift()
  if (next === undefined) throw bad()
  return next
}

const literal = (character: string): string =>
  `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`
