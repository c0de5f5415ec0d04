/**
 * Log files in the form of Docker's driver `json-file`, which every log agent reads.
 *
 *     json-file:///var/log/web.log?max-size=10m&max-file=3
 *
 *     web.log      what is written to now, with an exclusive flock of its writer
 *     web.log.1    what was full before that
 *     web.log.2    and before that; the oldest goes when a fourth would begin
 *
 * A file is lines of JSON, one for each line of output:
 *
 *     {"log":"hello\n","stream":"stdout","time":"2026-11-26T17:33:54.608611084Z"}
 *
 * `log` ends with a newline unless the line goes on in the next entry of its stream: a line of more
 * than 16 KiB is cut into entries of 16 KiB with one time, and the end of the output need not be the
 * end of a line. A character is not cut, so that an entry can be up to three bytes shorter.
 *
 * The name `web.log` is there at every moment, and what it names only ever grows. A writer that is
 * killed may leave half a line: the next one puts a newline behind that, and readers skip it.
 *
 * Source: moby `daemon/logger/jsonfilelog`, `daemon/logger/copier.go`.
 */
import { invalidArgument } from '#lib/errors/errors.ts'

const scheme = 'json-file:'

/** How much of a line one entry has at most, in bytes. */
export const maxEntryBytes = 16 * 1024

export const streamNames = ['stdout', 'stderr'] as const
export type StreamName = (typeof streamNames)[number]

/** One line of output, or a part of a long one. */
export interface LogEntry {
  readonly stream: StreamName
  /** When its beginning was read, RFC 3339 with up to nine digits. */
  readonly time: string
  /** With the newline at its end, if the line ends here. */
  readonly log: string
}

/** What a log URI says. */
export interface JsonFileTarget {
  readonly path: string
  /** How large a file becomes, in bytes: 100 MB unless the URI says `max-size`; -1 for any size. */
  readonly maxSize: number
  /** How many files there are at a time: 3 unless the URI says `max-file`. */
  readonly maxFile: number
}

const defaults = { 'max-size': '100m', 'max-file': '3' }
const mostFiles = 1000

/** Whether `uri` is for this driver. */
export const isJsonFileUri = (uri: string): boolean => uri.startsWith(scheme)

/**
 * Reads `json-file:///path?max-size=10m&max-file=3`. Units are decimal, as Docker has them.
 *
 * @throws `invalid_argument` for a path that is not absolute, an option that there is not, or a value
 *   out of range.
 */
export function parseJsonFileUri(uri: string): JsonFileTarget {
  const url = URL.parse(uri)
  if (!url || url.host !== '' || url.pathname === '/' || !url.pathname.startsWith('/')) {
    throw invalidArgument(`log URI "${uri}" has no absolute path: json-file:///path is meant`)
  }
  const given: Record<string, string> = { ...defaults }
  for (const [name, value] of url.searchParams) {
    if (!Object.hasOwn(defaults, name)) {
      throw invalidArgument(`log URI "${uri}" has an unknown option ${name}`)
    }
    given[name] = value
  }
  return {
    path: decodePath(uri, url.pathname),
    maxSize: parseSize(uri, given['max-size'] ?? ''),
    maxFile: parseCount(uri, given['max-file'] ?? ''),
  }
}

function decodePath(uri: string, path: string): string {
  try {
    return decodeURIComponent(path)
  } catch (err) {
    throw invalidArgument(`log URI "${uri}": % in the path is %25`, { cause: err })
  }
}

const powers = ['', 'k', 'm', 'g', 't']

function parseSize(uri: string, text: string): number {
  if (text === '-1') return -1
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?) ?([kmgt]?)b?$/i.exec(text) ?? []
  const bytes = Math.trunc(Number(number) * 1000 ** powers.indexOf(unit.toLowerCase()))
  if (number !== '' && bytes > 0) return bytes
  throw invalidArgument(`log URI "${uri}": max-size must be like 10m, or -1 for any size`)
}

function parseCount(uri: string, text: string): number {
  const count = /^\d+$/.test(text) ? Number(text) : 0
  if (count >= 1 && count <= mostFiles) return count
  throw invalidArgument(`log URI "${uri}": max-file must be from 1 to ${mostFiles}`)
}

/** The line of an entry, with its end. */
export const formatEntry = ({ log, stream, time }: LogEntry): string =>
  `{"log":${JSON.stringify(log)},"stream":"${stream}","time":"${time}"}\n`

/** The entry in a line; `undefined` for half a one, and for what is none. */
export function parseEntry(line: string): LogEntry | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return isEntry(value) ? { stream: value.stream, time: value.time, log: value.log } : undefined
  } catch {
    return undefined
  }
}

const isEntry = (value: unknown): value is LogEntry =>
  typeof value === 'object' &&
  value !== null &&
  'log' in value &&
  typeof value.log === 'string' &&
  'time' in value &&
  typeof value.time === 'string' &&
  'stream' in value &&
  streamNames.some((name) => name === value.stream)
