/** What a token is. A `char` is one that fits nowhere; `illegal` has set the scanner's error. */
export type TokenKind =
  | 'eof'
  | 'quoted'
  | 'value'
  | 'field'
  | 'separator'
  | 'operator'
  | 'illegal'
  | 'char'

export interface Token {
  readonly kind: TokenKind
  /** Where it begins, in characters of `Scanner.input`. */
  readonly at: number
  readonly text: string
}

/** What `next` gives where there is no character. */
const eof = ''
const illegal = '\0'

/**
 * Cuts a filter into tokens.
 *
 * What is a field and what a value depends on what stood before: after an operator comes a value.
 */
export class Scanner {
  readonly input: string
  readonly #chars: readonly string[]
  #at = 0
  #value = false
  #error = ''

  constructor(input: string) {
    this.input = input
    this.#chars = Array.from(input)
  }

  /** The first thing that was wrong with the text. */
  get error(): string {
    return this.#error
  }

  /** Where the next token or the space before it begins. */
  get at(): number {
    return this.#at
  }

  /** The next character, left where it is; `''` at the end. */
  peek(): string {
    const char = this.#chars[this.#at]
    if (char === undefined) return eof
    if (char === illegal) return this.#fail('unexpected null', illegal)
    return char.isWellFormed() ? char : this.#fail('rune error', illegal)
  }

  /** Characters `from` up to `to` of the input. */
  slice(from: number, to?: number): string {
    return this.#chars.slice(from, to).join('')
  }

  scan(): Token {
    while (isSpace(this.peek())) this.#at++
    const at = this.#at
    const char = this.#next()
    const kind = this.#scanRest(char)
    return { kind, at, text: this.slice(at, this.#at) }
  }

  #scanRest(char: string): TokenKind {
    if (char === eof) return 'eof'
    if (char === illegal) return 'illegal'
    if (isQuote(char)) return this.#skipQuoted(char) ? 'quoted' : 'illegal'
    if (char === ',' || char === '.') {
      this.#value = false
      return 'separator'
    }
    if (isOperator(char)) {
      this.#skip(isOperator)
      this.#value = true
      return 'operator'
    }
    if (this.#value) {
      this.#skip(isValue)
      this.#value = false
      return 'value'
    }
    if (!isField(char)) return 'char'
    this.#skip(isField)
    return 'field'
  }

  #next(): string {
    const char = this.peek()
    if (char !== eof) this.#at++
    return char
  }

  #skip(wanted: (char: string) => boolean): void {
    while (wanted(this.peek())) this.#at++
  }

  #skipQuoted(quote: string): boolean {
    let legal = true
    let char = this.#next()
    while (char !== quote) {
      if (char === '\n' || char === eof || char === illegal) {
        return this.#fail('quoted literal not terminated', false)
      }
      if (char !== '\\') {
        char = this.#next()
        continue
      }
      const escape = this.#skipEscape(quote)
      legal &&= escape.legal
      char = escape.next
    }
    return legal
  }

  /** Skips what follows a backslash; `next` is the character after the escape. */
  #skipEscape(quote: string): { readonly next: string; readonly legal: boolean } {
    const char = this.#next()
    if (char === quote || (char !== eof && 'abfnrtv\\'.includes(char))) {
      return { next: this.#next(), legal: true }
    }
    if (isDigit(char, 8)) return this.#skipDigits(char, 8, 3)
    const digits = { x: 2, u: 4, U: 8 }[char]
    if (digits !== undefined) return this.#skipDigits(this.#next(), 16, digits)
    return this.#fail('illegal escape sequence', { next: char, legal: false })
  }

  #skipDigits(first: string, base: number, count: number): { next: string; legal: boolean } {
    let next = first
    for (let left = count; left > 0; left--) {
      if (!isDigit(next, base)) {
        return this.#fail('illegal numeric escape sequence', { next, legal: false })
      }
      next = this.#next()
    }
    return { next, legal: true }
  }

  #fail<T>(message: string, result: T): T {
    this.#error ||= message
    return result
  }
}

const isSpace = (char: string): boolean => /^\p{White_Space}$/u.test(char)
const isQuote = (char: string): boolean => char === '"' || char === '/' || char === '|'
const isOperator = (char: string): boolean => char === '=' || char === '!' || char === '~'
const isField = (char: string): boolean => /^[A-Za-z0-9_]$/.test(char)
const isValue = (char: string): boolean =>
  char !== ',' && /^[\p{L}\p{M}\p{N}\p{P}\p{S}]$/u.test(char)
const isDigit = (char: string, base: number): boolean =>
  base === 8 ? /^[0-7]$/.test(char) : /^[0-9A-Fa-f]$/.test(char)
