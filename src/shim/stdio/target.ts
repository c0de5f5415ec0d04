import { invalidArgument } from '#lib/errors/errors.ts'

/** Where output goes. Source: upstream `process/io.go` (`createIO`). */
export interface Target {
  readonly scheme: 'fifo' | 'file' | 'binary' | 'binary-v2'
  readonly path: string
  /** What the URI's query says, for loggers. */
  readonly query: readonly (readonly [string, string])[]
}

const schemes = ['fifo', 'file', 'binary', 'binary-v2'] as const

/** Reads a path, or a URI like `file:///var/log/x`. @throws `invalid_argument` for an unknown scheme. */
export function parseTarget(uri: string): Target {
  const [, name] = /^([a-z][a-z0-9+.-]*):/i.exec(uri) ?? []
  if (name === undefined) return { scheme: 'fifo', path: uri, query: [] }
  const scheme = schemes.find((each) => each === name)
  if (scheme === undefined) throw invalidArgument(`unknown STDIO scheme ${name}`)
  const url = new URL(uri)
  return { scheme, path: decodeURIComponent(url.pathname), query: [...url.searchParams] }
}
