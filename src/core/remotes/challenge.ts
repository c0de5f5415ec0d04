/*
 *   WWW-Authenticate: Bearer realm="https://auth.example/token",service="r",scope="repository:a:pull"
 *   WWW-Authenticate: Basic realm="r", Bearer realm="…"          several may share one line
 *
 * Source: RFC 9110, 11.6.1; upstream `core/remotes/docker/auth/parse.go`.
 */

/** One way in that a registry offers. */
export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  readonly scheme: string
  /** Names in lower case. */
  readonly parameters: Readonly<Record<string, string>>
}

const token = /[A-Za-z0-9!#$%&'*+.^_`|~-]+/y
const quoted = /"((?:[^"\\]|\\[\s\S])*)"/y
/** Laxer than the RFC: some write URLs without quotes. */
const unquoted = /[^ \t,"]+/y
const space = /[ \t]*/y
const separators = /[ \t,]*/y
/** Longer than any real one. */
const longest = 16 * 1024
const most = 16

/** The challenges in the values of the header; what cannot be read ends its line. */
export function parseChallenges(values: readonly string[]): readonly Challenge[] {
  return values.flatMap((value) => parseLine(value.slice(0, longest))).slice(0, most)
}

function parseLine(line: string): Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = []
  const scanner = new Scanner(line)
  for (scanner.take(separators); !scanner.atEnd; scanner.take(separators)) {
    const name = scanner.take(token)
    if (name === undefined) break
    const value = scanner.value()
    const current = challenges.at(-1)
    if (value === undefined) challenges.push({ scheme: name.toLowerCase(), parameters: {} })
    else if (current === undefined) break
    else current.parameters[name.toLowerCase()] ??= value
  }
  return challenges
}

class Scanner {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  get atEnd(): boolean {
    return this.#at >= this.#text.length
  }

  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const match = pattern.exec(this.#text)
    if (match === null) return undefined
    this.#at += match[0].length
    return match[1] ?? match[0]
  }

  /** What follows `=`; undefined when nothing is assigned, and then nothing is taken. */
  value(): string | undefined {
    const before = this.#at
    this.take(space)
    if (this.#text[this.#at] === '=') {
      this.#at++
      this.take(space)
      const text = this.take(quoted)
      return text === undefined ? (this.take(unquoted) ?? '') : text.replaceAll(/\\([\s\S])/g, '$1')
    }
    this.#at = before
    return undefined
  }
}
