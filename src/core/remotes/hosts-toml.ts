import { isAbsolute, join, posix } from 'node:path'

import { parse, TomlError } from 'smol-toml'

import { invalidArgument } from '#lib/errors/errors.ts'
import { parseDuration } from '#lib/go/duration.ts'
import { isTable, kindOf, nearest, type Table } from '#lib/toml/decode.ts'
import { formatKey, type KeyPath } from '#lib/toml/key.ts'
import { locateKeys } from '#lib/toml/locate.ts'

import { allCapabilities, type Capability } from './profile.ts'

/*
 * hosts.toml: who serves a registry.
 *
 *   server = "https://registry-1.docker.io"     last; the registry itself when absent
 *   capabilities = ["pull", "resolve"]          these keys describe the server …
 *
 *   [host."https://mirror.example:5000"]        … and these the hosts asked before it, in file order
 *   capabilities = ["pull"]                     all when absent or empty
 *   ca = "ca.pem" | ["a.pem", "b.pem"]
 *   client = "c.pem" | ["c.pem"] | [["c.cert", "c.key"], ["both.pem", ""]]
 *   skip_verify = false
 *   override_path = false                       true: the URL's path is the API's, without /v2
 *   dial_timeout = "30s"
 *   [host."https://mirror.example:5000".header]
 *   x-name = "value" | ["one", "two"]
 *
 * Paths are relative to the file's directory. Source: upstream `docs/hosts.md`,
 * `core/remotes/docker/config/hosts.go`. There a bad file is logged and ignored, so that pulls
 * quietly go elsewhere; here it is an error.
 */

/** A host as a file describes it; certificates are still paths. */
export interface HostEntry {
  /** Undefined for the registry itself. */
  readonly url?: { readonly scheme: 'http' | 'https'; readonly host: string; readonly path: string }
  readonly capabilities: readonly Capability[]
  readonly ca: readonly string[]
  /** `key` is empty when it is in the same file. */
  readonly client: readonly { readonly cert: string; readonly key: string }[]
  readonly skipVerify?: boolean | undefined
  readonly header: Readonly<Record<string, readonly string[]>>
  readonly dialTimeoutMs?: number | undefined
}

export interface HostsFile {
  /** In the order in which they are asked. */
  readonly hosts: readonly HostEntry[]
  /** Keys that mean nothing, each with its line and what may have been meant. */
  readonly warnings: readonly string[]
}

const hostKeys = [
  'capabilities',
  'ca',
  'client',
  'skip_verify',
  'header',
  'override_path',
  'dial_timeout',
]
const rootKeys = [...hostKeys, 'server', 'host']

/** Reads the text of a hosts.toml. @throws `invalid_argument` naming file, line and key. */
export function parseHostsFile(text: string, path: string): HostsFile {
  const reader = new HostsReader(text, path)
  const root = parseToml(text, path)
  const hosts = Object.entries(reader.table(root, ['host'])).map(([url, value]) => {
    const where = ['host', url]
    const table = reader.asTable(value, where)
    reader.check(table, where, hostKeys)
    return reader.entry(table, where, url)
  })
  reader.check(root, [], rootKeys)
  hosts.push(reader.entry(root, [], reader.text(root, ['server'])))
  return { hosts, warnings: reader.warnings }
}

function parseToml(text: string, path: string): Table {
  try {
    return parse(text)
  } catch (err) {
    if (!(err instanceof TomlError)) throw err
    const reason = err.message.split('\n')[0]?.replace('Invalid TOML document: ', '') ?? ''
    // The parser's own message has the same reason again, above a drawing of several lines.
    throw invalidArgument(`hosts file "${path}", line ${err.line}: ${reason}`)
  }
}

class HostsReader {
  readonly warnings: string[] = []
  readonly #text: string
  readonly #path: string

  constructor(text: string, path: string) {
    this.#text = text
    this.#path = path
  }

  /** Warns of the keys of `table` that are not `known`. */
  check(table: Table, where: KeyPath, known: readonly string[]): void {
    for (const key of Object.keys(table).filter((name) => !known.includes(name))) {
      const meant = nearest(key, known)
      const hint = meant === undefined ? '' : `, did you mean "${meant}"?`
      this.warnings.push(`${this.#place([...where, key])} is not known${hint}`)
    }
  }

  entry(table: Table, where: KeyPath, url: string): HostEntry {
    const override = this.flag(table, [...where, 'override_path']) ?? false
    return {
      ...(url !== '' && { url: this.#url(url, where, override) }),
      capabilities: this.#capabilities(table, [...where, 'capabilities']),
      ca: this.#strings(table, [...where, 'ca']).map(this.#absolute),
      client: this.#client(table, [...where, 'client']),
      skipVerify: this.flag(table, [...where, 'skip_verify']),
      header: this.#header(table, [...where, 'header']),
      dialTimeoutMs: this.#duration(table, [...where, 'dial_timeout']),
    }
  }

  table(table: Table, where: KeyPath): Table {
    const value = table[lastOf(where)]
    return value === undefined ? {} : this.asTable(value, where)
  }

  asTable(value: unknown, where: KeyPath): Table {
    if (!isTable(value)) throw this.#bad(where, `must be a table, not ${kindOf(value)}`)
    return value
  }

  text(table: Table, where: KeyPath): string {
    const value = table[lastOf(where)] ?? ''
    if (typeof value !== 'string') throw this.#bad(where, `must be a string, not ${kindOf(value)}`)
    return value
  }

  flag(table: Table, where: KeyPath): boolean | undefined {
    const value = table[lastOf(where)]
    if (value === undefined || typeof value === 'boolean') return value
    throw this.#bad(where, `must be true or false, not ${kindOf(value)}`)
  }

  /** Source: upstream `parseHostConfig`: without a scheme it is https; `/v2` is added unless it ends so. */
  #url(text: string, where: KeyPath, override: boolean): NonNullable<HostEntry['url']> {
    const key = where.length === 0 ? ['server'] : where
    const full = text.includes('://') ? text : `https://${text}`
    const url = URL.parse(full)
    const scheme = url?.protocol.slice(0, -1)
    if (url === null || url.host === '' || (scheme !== 'http' && scheme !== 'https')) {
      throw this.#bad(key, `${JSON.stringify(text)} is not the URL of a host`)
    }
    if (url.username !== '' || url.password !== '') {
      throw this.#bad(key, 'must not hold a user or password')
    }
    // The port that the scheme implies is kept: it is part of the host's name.
    const host = /^https?:\/\/([^/?#]+)/.exec(full)?.[1] ?? url.host
    const path = url.pathname === '/' ? '' : posix.normalize(url.pathname).replace(/\/$/, '')
    const isApi = override || path.endsWith('/v2')
    return { scheme, host: host.toLowerCase(), path: isApi ? path : `${path}/v2` }
  }

  #capabilities(table: Table, where: KeyPath): readonly Capability[] {
    const names = this.#list(table, where)
    const found = names.map((name) => {
      const known = allCapabilities.find((each) => each === name.toLowerCase())
      if (known === undefined) {
        throw this.#bad(
          where,
          `${JSON.stringify(name)} is not one of ${allCapabilities.join(', ')}`,
        )
      }
      return known
    })
    return found.length === 0 ? allCapabilities : found
  }

  #client(table: Table, where: KeyPath): HostEntry['client'] {
    const value = table[lastOf(where)]
    if (typeof value === 'string') return [{ cert: this.#absolute(value), key: '' }]
    if (value === undefined) return []
    if (!Array.isArray(value)) throw this.#bad(where, 'must be a path, or a list of paths or pairs')
    return value.map((pair: unknown) => {
      if (typeof pair === 'string') return { cert: this.#absolute(pair), key: '' }
      const parts: readonly unknown[] = Array.isArray(pair) ? pair : []
      const [cert, key, more] = parts
      if (typeof cert !== 'string' || typeof key !== 'string' || more !== undefined) {
        throw this.#bad(where, 'must hold paths, or pairs of a certificate and a key')
      }
      return { cert: this.#absolute(cert), key: key === '' ? '' : this.#absolute(key) }
    })
  }

  #header(table: Table, where: KeyPath): HostEntry['header'] {
    const header: Record<string, readonly string[]> = {}
    const source = this.table(table, where)
    for (const name of Object.keys(source)) {
      if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name)) {
        throw this.#bad([...where, name], 'is not the name of a header')
      }
      header[name.toLowerCase()] = this.#strings(source, [...where, name])
    }
    return header
  }

  #duration(table: Table, where: KeyPath): number | undefined {
    const text = this.text(table, where)
    if (text === '') return undefined
    try {
      return parseDuration(text)
    } catch (err) {
      throw this.#bad(where, err instanceof Error ? err.message : String(err))
    }
  }

  /** A string, or a list of them. */
  #strings(table: Table, where: KeyPath): readonly string[] {
    const value = table[lastOf(where)]
    return typeof value === 'string' ? [value] : this.#list(table, where)
  }

  #list(table: Table, where: KeyPath): readonly string[] {
    const value = table[lastOf(where)] ?? []
    if (!Array.isArray(value)) throw this.#bad(where, `must be a list, not ${kindOf(value)}`)
    return value.map((item: unknown) => {
      if (typeof item === 'string') return item
      throw this.#bad(where, `must hold a string each, not ${kindOf(item)}`)
    })
  }

  readonly #absolute = (path: string): string =>
    isAbsolute(path) ? path : join(this.#path, '..', path)

  #place(where: KeyPath): string {
    const line = locateKeys(this.#text).lineOf(where)
    const at = line === undefined ? '' : `, line ${line}`
    return `hosts file "${this.#path}"${at}: ${formatKey(where)}`
  }

  #bad(where: KeyPath, reason: string): Error {
    return invalidArgument(`${this.#place(where)} ${reason}`)
  }
}

const lastOf = (where: KeyPath): string => where.at(-1) ?? ''
