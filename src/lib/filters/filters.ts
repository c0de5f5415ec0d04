/**
 * The filters of containerd's list calls. Source: upstream `pkg/filters/parser.go`.
 *
 *     filter    := selector ("," selector)*          all must match
 *     selector  := fieldpath [operator value]        without operator: the field is there
 *     fieldpath := field ("." field)*
 *     field     := "Go string" | [A-Za-z0-9_]+
 *     operator  := "==" | "!=" | "~="
 *     value     := "Go string" | [^\s,]+             after ~= also /quoted/ or |quoted|
 */
import { invalidArgument } from '#lib/errors/errors.ts'

import { compileRegexp } from './regexp.ts'
import { Scanner, type Token } from './scanner.ts'
import { unquote } from './unquote.ts'

/** Looks up one field of an object; undefined when it does not have that field. */
export type Adaptor = (path: readonly string[]) => string | undefined

/** Whether an object matches; the adaptor stands for the object. */
export type Filter = (adapt: Adaptor) => boolean

/**
 * One filter out of several: an object matches when it matches any of them.
 *
 * Without texts, and for an empty text, everything matches. A field that is not there counts as
 * empty for `!=` and `~=`, and never equals. A regular expression that is none matches nothing:
 * upstream finds out only when it has something to match, and then says so in its log alone.
 *
 * @throws `invalid_argument` for a text that is no filter.
 */
export function parseFilters(texts: readonly string[] = []): Filter {
  if (texts.length === 0) return always
  const filters = texts.map(parseFilter)
  return (adapt) => filters.some((matches) => matches(adapt))
}

const always: Filter = () => true

function parseFilter(text: string): Filter {
  if (text === '') return always
  const scanner = new Scanner(text)
  const selectors = [parseSelector(scanner)]
  for (let char = scanner.peek(); char !== ''; char = scanner.peek()) {
    if (char !== ',') throw fault(scanner, scanner.at, `unexpected input: ${char}`)
    scanner.scan()
    selectors.push(parseSelector(scanner))
  }
  return (adapt) => selectors.every((matches) => matches(adapt))
}

function parseSelector(scanner: Scanner): Filter {
  const path = parsePath(scanner)
  const next = scanner.peek()
  if (next === ',' || next === '') return (adapt) => adapt(path) !== undefined
  const operator = operatorOf(scanner, scanner.scan())
  if (operator === '~=') {
    const matches = parseRegexp(scanner)
    return (adapt) => matches(adapt(path) ?? '')
  }
  const value = parseValue(scanner)
  if (operator === '==') return (adapt) => adapt(path) === value
  return (adapt) => (adapt(path) ?? '') !== value
}

function parsePath(scanner: Scanner): readonly string[] {
  const path = [parseField(scanner)]
  while (scanner.peek() === '.') {
    scanner.scan()
    path.push(parseField(scanner))
  }
  return path
}

function parseField(scanner: Scanner): string {
  const token = scanner.scan()
  if (token.kind === 'field') return token.text
  if (token.kind === 'quoted') return unquoted(scanner, token, false)
  throw unexpected(scanner, token, 'expected field or quoted')
}

function operatorOf(scanner: Scanner, token: Token): '==' | '!=' | '~=' {
  const { kind, text, at } = token
  if (kind !== 'operator') {
    throw unexpected(scanner, token, 'expected an operator ("=="|"!="|"~=")')
  }
  if (text === '==' || text === '!=' || text === '~=') return text
  throw fault(scanner, at, `unsupported operator ${JSON.stringify(text)}`)
}

function parseValue(scanner: Scanner): string {
  return valueOf(scanner, scanner.scan(), false)
}

function valueOf(scanner: Scanner, token: Token, anyQuotes: boolean): string {
  if (token.kind === 'value' || token.kind === 'field') return token.text
  if (token.kind === 'quoted') return unquoted(scanner, token, anyQuotes)
  throw unexpected(scanner, token, 'expected value or quoted')
}

function parseRegexp(scanner: Scanner): (text: string) => boolean {
  const source = valueOf(scanner, scanner.scan(), true)
  try {
    return compileRegexp(source)
  } catch {
    return () => false
  }
}

function unquoted(scanner: Scanner, { text, at }: Token, anyQuotes: boolean): string {
  if (!anyQuotes && text[0] !== '"') throw fault(scanner, at, 'invalid quote encountered')
  const value = unquote(text)
  if (value === undefined) throw fault(scanner, at, 'unquoting failed: quote syntax error')
  return value
}

const unexpected = (scanner: Scanner, { kind, at }: Token, message: string): Error =>
  fault(scanner, at, kind === 'illegal' ? scanner.error : message)

/** Shows where in the filter it went wrong, as containerd does: `[labels. >|?|< x]: …`. */
function fault(scanner: Scanner, at: number, message: string): Error {
  const char = scanner.slice(at, at + 1)
  const shown = char
    ? `${scanner.slice(0, at)} >|${char}|< ${scanner.slice(at + 1)}`
    : scanner.input
  return invalidArgument(`filters: parse error: [${shown}]: ${message}`)
}
