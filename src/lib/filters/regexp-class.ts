/** A set of characters under construction: ranges of code points, and Unicode properties. */
export interface ClassParts {
  readonly ranges: (readonly [number, number])[]
  /** As JavaScript writes them: `\p{Lu}`. */
  readonly properties: string[]
}

export type Range = readonly [number, number]

const lastPoint = 0x10ffff
const range = (from: string, to: string): Range => [from.charCodeAt(0), to.charCodeAt(0)]
const points = (text: string): Range[] => Array.from(text, (char) => range(char, char))

const digit = [range('0', '9')]
const lower = [range('a', 'z')]
const upper = [range('A', 'Z')]
const alnum = [...digit, ...upper, ...lower]
const word = [...alnum, ...points('_')]
const punct = [range('!', '/'), range(':', '@'), range('[', '`'), range('{', '~')]

/** `\d`, `\s`, `\w`: ASCII only, and `\s` without the vertical tab. */
const perl: ReadonlyMap<string, readonly Range[]> = new Map([
  ['d', digit],
  ['s', points('\t\n\f\r ')],
  ['w', word],
])

/** The names inside `[[:alpha:]]`. */
const posix: ReadonlyMap<string, readonly Range[]> = new Map([
  ['alnum', alnum],
  ['alpha', [...upper, ...lower]],
  ['ascii', [[0, 0x7f]]],
  ['blank', points('\t ')],
  ['cntrl', [[0, 0x1f] as const, [0x7f, 0x7f] as const]],
  ['digit', digit],
  ['graph', [range('!', '~')]],
  ['lower', lower],
  ['print', [range(' ', '~')]],
  ['punct', punct],
  ['space', points('\t\n\v\f\r ')],
  ['upper', upper],
  ['word', word],
  ['xdigit', [...digit, range('A', 'F'), range('a', 'f')]],
])

/** The ranges of `\d \D \s \S \w \W`, by the letter. */
export function perlClass(letter: string): readonly Range[] | undefined {
  const ranges = perl.get(letter.toLowerCase())
  if (!ranges || letter === letter.toLowerCase()) return ranges
  return complement(ranges)
}

/** The ranges of `[:name:]` or `[:^name:]`, by what is between the colons. */
export function posixClass(name: string): readonly Range[] | undefined {
  const ranges = posix.get(name.replace(/^\^/, ''))
  return ranges && name.startsWith('^') ? complement(ranges) : ranges
}

/** JavaScript's form of the property `name`, which is a category or a script. */
export function unicodeProperty(name: string, negated: boolean): string | undefined {
  const positive = name.replace(/^\^/, '')
  const letter = negated === name.startsWith('^') ? 'p' : 'P'
  if (!/^[A-Za-z_]+$/.test(positive)) return undefined
  const forms = [positive, `General_Category=${positive}`, `Script=${positive}`]
  const [any, ...known] = forms.map((form) => `\\${letter}{${form}}`)
  return positive === 'Any' ? any : known.find(isPattern)
}

/** The test for membership; `fold` ignores case. */
export function classTest(
  { ranges, properties }: ClassParts,
  options: { readonly negated?: boolean; readonly fold?: boolean } = {},
): (char: string) => boolean {
  const items = ranges.map(([from, to]) => `${escaped(from)}-${escaped(to)}`)
  const source = `^[${options.negated ? '^' : ''}${items.join('')}${properties.join('')}]$`
  const pattern = new RegExp(source, options.fold ? 'iu' : 'u')
  return (char) => pattern.test(char)
}

const escaped = (point: number): string => `\\u{${point.toString(16)}}`

function complement(ranges: readonly Range[]): readonly Range[] {
  const out: Range[] = []
  let from = 0
  for (const [start, end] of ranges.toSorted(([a], [b]) => a - b)) {
    if (start > from) out.push([from, start - 1])
    from = end + 1
  }
  return [...out, [from, lastPoint]]
}

function isPattern(source: string): boolean {
  try {
    return new RegExp(source, 'u') instanceof RegExp
  } catch {
    return false // No such property.
  }
}
