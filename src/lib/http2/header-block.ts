/*
 * Header lists: names and values by turns, `[':method', 'POST', ':path', '/x', 'te', 'trailers']`,
 * pseudo-header fields first. Text is Latin-1, a character for a byte.
 */

/** Names and values by turns. */
export type HeaderList = readonly string[]

/** What a header block may be. */
export type BlockKind = 'request' | 'response' | 'trailers'

/**
 * A header block that was received. A peer that sends the same fields again and again gets the same
 * object again and again, so what is derived from one can be kept with it.
 */
export class HeaderBlock {
  readonly fields: HeaderList
  /** Whether the list was longer than we accept; its fields are then incomplete. */
  readonly tooLarge: boolean
  #contentLength: number | undefined
  readonly #valid = new Map<BlockKind, boolean>()

  constructor(fields: HeaderList, tooLarge: boolean) {
    this.fields = fields
    this.tooLarge = tooLarge
  }

  /** The value of a field; if it came more than once, the values joined by `, `. */
  get(name: string): string | undefined {
    const { fields } = this
    let value: string | undefined
    for (let at = 0; at < fields.length; at += 2) {
      if (fields[at] === name)
        value = value === undefined ? fields[at + 1] : `${value}, ${fields[at + 1]}`
    }
    return value
  }

  /** The bytes of data that are to come; NaN if it does not say. */
  get contentLength(): number {
    this.#contentLength ??= Number.parseInt(this.get('content-length') ?? '', 10)
    return this.#contentLength
  }

  /** Whether it is well-formed as what it came as (RFC 9113 §8.2, §8.3). */
  isValid(kind: BlockKind): boolean {
    let valid = this.#valid.get(kind)
    if (valid === undefined) {
      valid = fieldsAreValid(this.fields, kind)
      this.#valid.set(kind, valid)
    }
    return valid
  }
}

const pseudoFields: Readonly<Record<BlockKind, readonly string[]>> = {
  request: [':method', ':scheme', ':path', ':authority'],
  response: [':status'],
  trailers: [],
}

/** Fields of HTTP/1.1 connections, RFC 9113 §8.2.2. */
const ofConnections = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
])

function fieldsAreValid(fields: HeaderList, kind: BlockKind): boolean {
  const seen = new Set<string>()
  let pseudo = true
  for (let at = 0; at < fields.length; at += 2) {
    const [name = '', value = ''] = [fields[at], fields[at + 1]]
    if (name.startsWith(':')) {
      if (!pseudo || seen.has(name) || !pseudoFields[kind].includes(name)) return false
      if (value === '' && name !== ':authority') return false
      seen.add(name)
    } else {
      pseudo = false
      if (!isFieldName(name) || ofConnections.has(name)) return false
      if (name === 'te' && value !== 'trailers') return false
    }
    if (!isFieldValue(value)) return false
  }
  if (kind === 'response') return /^\d{3}$/.test(fields[1] ?? '') && seen.has(':status')
  return kind === 'trailers' || hasTarget(fields, seen)
}

/** A request says what it wants of whom; CONNECT has no scheme and no path. */
function hasTarget(fields: HeaderList, seen: ReadonlySet<string>): boolean {
  const method = fields[fields.indexOf(':method') + 1]
  if (!seen.has(':method')) return false
  if (method === 'CONNECT') return !seen.has(':scheme') && !seen.has(':path')
  return seen.has(':scheme') && seen.has(':path')
}

/** A token (RFC 9110 §5.6.2) without upper case. */
const isFieldName = (name: string): boolean => /^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)

/** No NUL, CR or LF, and no space around it (RFC 9113 §8.2.1). */
const isFieldValue = (value: string): boolean =>
  // oxlint-disable-next-line no-control-regex -- these are what must not be in it
  !/[\0\r\n]|^[ \t]|[ \t]$/.test(value)
