import { type KeyPath, parseKey } from './key.ts'

/** Where each key of a TOML document is written. */
export interface KeyLines {
  /** The line of a key, from 1; undefined for a key that the document does not have. */
  lineOf(path: KeyPath): number | undefined
}

/**
 * Finds the lines of all keys in `text`, which must be well-formed TOML: table headers, dotted keys,
 * keys of inline tables, and elements of arrays of tables by their index.
 */
export function locateKeys(text: string): KeyLines {
  const scanner = new Scanner(text)
  scanner.document()
  return { lineOf: (path) => scanner.lines.get(idOf(path)) }
}

const idOf = (path: KeyPath): string => JSON.stringify(path)

/** Reads TOML as far as it takes to know which key is on which line. */
class Scanner {
  readonly lines = new Map<string, number>()
  readonly #text: string
  /** How many elements each array of tables has so far. */
  readonly #elements = new Map<string, number>()
  #at = 0
  #line = 1

  constructor(text: string) {
    this.#text = text
  }

  document(): void {
    let table: KeyPath = []
    for (this.#skipBlank(); this.#at < this.#text.length; this.#skipBlank()) {
      if (this.#text[this.#at] === '[') table = this.#header()
      else this.#pair(table)
    }
  }

  /** `[a.b]` or `[[a.b]]`. */
  #header(): KeyPath {
    const isElement = this.#text.startsWith('[[', this.#at)
    this.#at += isElement ? 2 : 1
    const line = this.#line
    const path = this.#within(this.#key(']'))
    this.#at += isElement ? 2 : 1
    this.#note(path, line)
    if (!isElement) return path
    const index = this.#elements.get(idOf(path)) ?? 0
    this.#elements.set(idOf(path), index + 1)
    const element = [...path, String(index)]
    this.#note(element, line)
    return element
  }

  /** `key`, where parts that are arrays of tables mean their last element. */
  #within(key: KeyPath): KeyPath {
    const path: string[] = []
    for (const [i, name] of key.entries()) {
      path.push(name)
      const elements = this.#elements.get(idOf(path))
      if (elements !== undefined && i < key.length - 1) path.push(String(elements - 1))
    }
    return path
  }

  /** `key = value`, in the table `table`. */
  #pair(table: KeyPath): void {
    const line = this.#line
    const path = [...table, ...this.#key('=')]
    this.#at += 1
    this.#note(path, line)
    this.#value(path)
  }

  /** A key and the tables that dots make on the way have the line where they first appear. */
  #note(path: KeyPath, line: number): void {
    for (let length = 1; length <= path.length; length++) {
      const id = idOf(path.slice(0, length))
      if (!this.lines.has(id)) this.lines.set(id, line)
    }
  }

  /** The dotted key up to `end`, which is not in quotes. */
  #key(end: string): KeyPath {
    const from = this.#at
    while (this.#at < this.#text.length && this.#text[this.#at] !== end) this.#skipOne()
    return parseKey(this.#text.slice(from, this.#at))
  }

  #value(path: KeyPath): void {
    this.#skipBlank()
    const opening = this.#text[this.#at]
    if (opening === '{') this.#inlineTable(path)
    else if (opening === '[') this.#list(path)
    else while (this.#at < this.#text.length && !this.#endsValue()) this.#skipOne()
  }

  #endsValue(): boolean {
    return /[,\]}\n#]/.test(this.#text[this.#at] ?? '')
  }

  #inlineTable(path: KeyPath): void {
    this.#at += 1
    for (this.#skipSeparators(); this.#goesOn('}'); this.#skipSeparators()) this.#pair(path)
    this.#at += 1
  }

  #list(path: KeyPath): void {
    this.#at += 1
    this.#skipSeparators()
    for (let index = 0; this.#goesOn(']'); index++) {
      this.#value([...path, String(index)])
      this.#skipSeparators()
    }
    this.#at += 1
  }

  #goesOn(end: string): boolean {
    return this.#at < this.#text.length && this.#text[this.#at] !== end
  }

  #skipSeparators(): void {
    for (this.#skipBlank(); this.#text[this.#at] === ','; this.#skipBlank()) this.#at += 1
  }

  /** White space, line ends and comments. */
  #skipBlank(): void {
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at] ?? ''
      if (char === '#') while (this.#goesOn('\n')) this.#at += 1
      else if (/\s/.test(char)) this.#advance(1)
      else return
    }
  }

  /** One character, or one whole string. */
  #skipOne(): void {
    const rest = this.#text.slice(this.#at, this.#at + 3)
    if (rest === '"""' || rest === "'''") this.#skipString(rest, rest === '"""')
    else if (rest[0] === '"' || rest[0] === "'") this.#skipString(rest[0], rest[0] === '"')
    else this.#advance(1)
  }

  #skipString(quote: string, escapes: boolean): void {
    this.#at += quote.length
    while (this.#at < this.#text.length && !this.#text.startsWith(quote, this.#at)) {
      this.#advance(escapes && this.#text[this.#at] === '\\' ? 2 : 1)
    }
    this.#at += quote.length
    // A string of three quotes may end in up to two more that belong to it.
    while (quote.length === 3 && this.#text[this.#at] === quote[0]) this.#at += 1
  }

  #advance(count: number): void {
    for (let i = 0; i < count; i++) {
      if (this.#text[this.#at] === '\n') this.#line += 1
      this.#at += 1
    }
  }
}
