/**
 * The syntax of Go's regular expressions, as far as it decides whether there is a match: groups do
 * not capture, and greedy and lazy are the same. Source: Go `regexp/syntax/doc.go`.
 */
import {
  type ClassParts,
  classTest,
  perlClass,
  posixClass,
  unicodeProperty,
} from './regexp-class.ts'

/** Whether an assertion holds between two characters; undefined is an end of the text. */
export type Edge = (before: string | undefined, after: string | undefined) => boolean

export type RegexpNode =
  | { readonly kind: 'set'; readonly test: (char: string) => boolean }
  | { readonly kind: 'assert'; readonly test: Edge }
  | { readonly kind: 'concat'; readonly nodes: readonly RegexpNode[] }
  | { readonly kind: 'alternate'; readonly nodes: readonly RegexpNode[] }
  | {
      readonly kind: 'repeat'
      readonly node: RegexpNode
      readonly min: number
      readonly max: number
    }

/** What `(?ims)` switches. */
interface Flags {
  readonly i: boolean
  readonly m: boolean
  readonly s: boolean
}

const maxRepeat = 1000
const maxDepth = 1000

/** @throws {Error} in Go's words when `source` is no regular expression. */
export function parseRegexpSyntax(source: string): RegexpNode {
  return new Parser(source).parse()
}

class Parser {
  readonly #source: string
  #at = 0
  #depth = 0
  #flags: Flags = { i: false, m: false, s: false }

  constructor(source: string) {
    this.#source = source
  }

  parse(): RegexpNode {
    const node = this.#alternation()
    if (this.#at < this.#source.length) throw fault('unexpected )', this.#source)
    return node
  }

  #alternation(): RegexpNode {
    const nodes = [this.#concatenation()]
    while (this.#accept('|')) nodes.push(this.#concatenation())
    return { kind: 'alternate', nodes }
  }

  #concatenation(): RegexpNode {
    const nodes: RegexpNode[] = []
    for (;;) {
      const char = this.#peek()
      if (char === '' || char === '|' || char === ')') return { kind: 'concat', nodes }
      if (this.#accept('\\Q')) {
        nodes.push(...this.#quoted())
        continue
      }
      const atom = this.#atom()
      if (atom) nodes.push(this.#repeated(atom))
    }
  }

  /** `\Qtext\E`; only its last character is what an operator after it repeats. */
  #quoted(): RegexpNode[] {
    const end = this.#source.indexOf('\\E', this.#at)
    const text = this.#source.slice(this.#at, end < 0 ? undefined : end)
    this.#at += text.length + (end < 0 ? 0 : 2)
    const nodes = Array.from(text, (char) => this.#literal(char))
    const last = nodes.pop()
    return last ? [...nodes, this.#repeated(last)] : nodes
  }

  #atom(): RegexpNode | undefined {
    const char = this.#next()
    switch (char) {
      case '(':
        return this.#group()
      case '[':
        return this.#class()
      case '.':
        return { kind: 'set', test: this.#flags.s ? () => true : (c) => c !== '\n' }
      case '^':
        return { kind: 'assert', test: this.#flags.m ? edges.lineStart : edges.textStart }
      case '$':
        return { kind: 'assert', test: this.#flags.m ? edges.lineEnd : edges.textEnd }
      case '\\':
        return this.#escape()
      case '*':
      case '+':
      case '?':
        throw fault('missing argument to repetition operator', char)
      default:
        return this.#literal(char)
    }
  }

  /** What follows `(`; undefined for flags alone, which hold to the end of the group around. */
  #group(): RegexpNode | undefined {
    const outer = this.#flags
    if (this.#peek() === '?') {
      const rest = this.#source.slice(this.#at - 1)
      const name = /^\(\?P?<(\w+)>/.exec(rest)
      const flags = /^\(\?([imsU]*)(?:-([imsU]+))?([:)])/.exec(rest)
      const whole = name?.[0] ?? flags?.[0]
      if (whole === undefined) throw fault(perlSyntax(rest), rest.slice(0, 4))
      this.#at += whole.length - 1
      if (flags) this.#setFlags(flags[1] ?? '', flags[2] ?? '')
      if (flags?.[3] === ')') return undefined
    }
    if (++this.#depth > maxDepth) throw fault('expression nests too deeply', this.#source)
    const node = this.#alternation()
    this.#depth--
    if (!this.#accept(')')) throw fault('missing closing )', this.#source)
    this.#flags = outer
    return node
  }

  #setFlags(on: string, off: string): void {
    const set = (flag: keyof Flags): boolean =>
      (this.#flags[flag] || on.includes(flag)) && !off.includes(flag)
    this.#flags = { i: set('i'), m: set('m'), s: set('s') }
  }

  #repeated(atom: RegexpNode): RegexpNode {
    const operator = this.#repeatOperator()
    if (!operator) return atom
    const { text, min, max } = operator
    const again = this.#repeatOperator()
    if (again) throw fault('invalid nested repetition operator', text + again.text)
    if (repeats(atom) * (max === Infinity ? min : max) > maxRepeat) {
      throw fault('invalid repeat count', text)
    }
    return { kind: 'repeat', node: atom, min, max }
  }

  #repeatOperator(): { text: string; min: number; max: number } | undefined {
    const match = /^(?:[*+?]|\{(\d+)(,(\d*))?\})\??/.exec(
      this.#source.slice(this.#at, this.#at + 24),
    )
    if (!match) return undefined
    const [text, least, comma, most] = match
    this.#at += text.length
    if (least === undefined) {
      return { text, min: text[0] === '+' ? 1 : 0, max: text[0] === '?' ? 1 : Infinity }
    }
    const min = Number(least)
    const max = comma === undefined ? min : most ? Number(most) : Infinity
    if (min > maxRepeat || (max !== Infinity && (max > maxRepeat || min > max))) {
      throw fault('invalid repeat count', text)
    }
    return { text, min, max }
  }

  /** What follows a backslash outside a class. */
  #escape(): RegexpNode {
    const edge = escapeEdges.get(this.#peek())
    if (edge) {
      this.#next()
      return { kind: 'assert', test: edge }
    }
    const parts: ClassParts = { ranges: [], properties: [] }
    if (this.#classEscape(parts)) return this.#set(parts)
    return this.#literal(String.fromCodePoint(this.#escapedPoint()))
  }

  /** Reads `\d` or `\pL` after its backslash into `parts`, if it is one. */
  #classEscape(parts: ClassParts): boolean {
    const letter = this.#peek()
    const ranges = perlClass(letter)
    if (ranges) {
      this.#next()
      parts.ranges.push(...ranges)
      return true
    }
    if (letter !== 'p' && letter !== 'P') return false
    const [text = '', braced, single = ''] =
      /^[pP](?:\{([^}]*)\}|(.))/u.exec(this.#source.slice(this.#at)) ?? []
    const property = unicodeProperty(braced ?? single, letter === 'P')
    if (!property) throw fault('invalid character class range', `\\${text || letter}`)
    this.#at += text.length
    parts.properties.push(property)
    return true
  }

  /** The code point of an escape that stands for one character. */
  #escapedPoint(): number {
    const rest = this.#source.slice(this.#at)
    if (rest === '') throw fault('trailing backslash at end of expression', '')
    const coded =
      /^(?:x([0-9A-Fa-f]{2})|x\{([0-9A-Fa-f]{1,8})\}|(0[0-7]{0,2}|[1-7][0-7]{1,2}))/.exec(rest)
    if (coded) {
      this.#at += coded[0].length
      const [, short, long, octal = ''] = coded
      const hex = short ?? long
      const point = hex === undefined ? Number.parseInt(octal, 8) : Number.parseInt(hex, 16)
      if (point <= 0x10ffff) return point
      throw fault('invalid escape sequence', `\\${coded[0]}`)
    }
    const char = this.#next()
    const point = simpleEscapes.get(char) ?? (/^[!-/:-@[-`{-~]$/.test(char) ? char : undefined)
    if (point === undefined) throw fault('invalid escape sequence', `\\${char}`)
    return point.charCodeAt(0)
  }

  /** What follows `[`. */
  #class(): RegexpNode {
    const start = this.#at - 1
    const negated = this.#accept('^')
    const parts: ClassParts = { ranges: [], properties: [] }
    for (let first = true; first || this.#peek() !== ']'; first = false) {
      if (this.#peek() === '') throw fault('missing closing ]', this.#source.slice(start))
      this.#classItem(parts)
    }
    this.#next()
    return this.#set(parts, negated)
  }

  #classItem(parts: ClassParts): void {
    const named = /^\[:(\^?\w*):\]/.exec(this.#source.slice(this.#at, this.#at + 16))
    if (named) {
      const ranges = posixClass(named[1] ?? '')
      if (!ranges) throw fault('invalid character class range', named[0])
      this.#at += named[0].length
      parts.ranges.push(...ranges)
      return
    }
    const start = this.#at
    if (this.#accept('\\')) {
      if (this.#classEscape(parts)) return
      this.#at = start
    }
    const from = this.#classPoint()
    const ranged = this.#peek() === '-' && this.#source[this.#at + 1] !== ']'
    if (ranged) this.#next()
    const to = ranged ? this.#classPoint() : from
    if (to < from) {
      throw fault('invalid character class range', this.#source.slice(start, this.#at))
    }
    parts.ranges.push([from, to])
  }

  #classPoint(): number {
    if (this.#peek() === '') throw fault('missing closing ]', this.#source)
    return this.#accept('\\') ? this.#escapedPoint() : (this.#next().codePointAt(0) ?? 0)
  }

  #set(parts: ClassParts, negated = false): RegexpNode {
    return { kind: 'set', test: classTest(parts, { negated, fold: this.#flags.i }) }
  }

  #literal(char: string): RegexpNode {
    if (!this.#flags.i) return { kind: 'set', test: (other) => other === char }
    const point = char.codePointAt(0) ?? 0
    return this.#set({ ranges: [[point, point]], properties: [] })
  }

  #peek(): string {
    const point = this.#source.codePointAt(this.#at)
    return point === undefined ? '' : String.fromCodePoint(point)
  }

  #next(): string {
    const char = this.#peek()
    this.#at += char.length
    return char
  }

  #accept(text: string): boolean {
    if (!this.#source.startsWith(text, this.#at)) return false
    this.#at += text.length
    return true
  }
}

const simpleEscapes: ReadonlyMap<string, string> = new Map([
  ['a', '\x07'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
  ['v', '\v'],
])

const isWord = (char: string | undefined): boolean => char !== undefined && /^\w$/.test(char)

const edges = {
  textStart: (before) => before === undefined,
  textEnd: (_before, after) => after === undefined,
  lineStart: (before) => before === undefined || before === '\n',
  lineEnd: (_before, after) => after === undefined || after === '\n',
  word: (before, after) => isWord(before) !== isWord(after),
  notWord: (before, after) => isWord(before) === isWord(after),
} as const satisfies Record<string, Edge>

const escapeEdges: ReadonlyMap<string, Edge> = new Map([
  ['A', edges.textStart],
  ['z', edges.textEnd],
  ['b', edges.word],
  ['B', edges.notWord],
])

/** How many copies of its innermost part a node makes. */
function repeats(node: RegexpNode): number {
  if (node.kind === 'repeat') {
    return repeats(node.node) * Math.max(1, node.max === Infinity ? node.min : node.max)
  }
  if (node.kind === 'set' || node.kind === 'assert') return 1
  return Math.max(1, ...node.nodes.map(repeats))
}

const perlSyntax = (rest: string): string =>
  /^\(\?P?<(?![=!])/.test(rest) ? 'invalid named capture' : 'invalid or unsupported Perl syntax'

const fault = (what: string, where: string): Error =>
  new Error(`error parsing regexp: ${what}: \`${where}\``)
