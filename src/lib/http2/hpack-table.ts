/*
 * The tables of HPACK (RFC 7541 §2.3). Index 1 to 61 is the static table below; 62 is the field
 * that was added last to the dynamic table, 63 the one before it, and so on to the oldest:
 *
 *   1 ... 61 | 62 (newest) ... 61 + n (oldest, the first to be evicted)
 *
 * A field weighs the bytes of its name and its value and 32.
 */

/** One header field. Its text is Latin-1: each character is a byte. */
export interface Field {
  readonly name: string
  readonly value: string
}

const fieldOverhead = 32

/** RFC 7541 Appendix A: names, and after a space their values. */
export const staticFields: readonly Field[] = `:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate`
  .split('\n')
  .map((line) => {
    const space = line.indexOf(' ')
    if (space < 0) return { name: line, value: '' }
    return { name: line.slice(0, space), value: line.slice(space + 1) }
  })

/** The bytes a field counts for in a table and in a header list. */
export const weightOf = (name: string, value: string): number =>
  name.length + value.length + fieldOverhead

/** The dynamic table of one direction, oldest first. */
export class DynamicTable {
  #fields: Field[] = []
  /** Fields before this one have been evicted. */
  #first = 0
  #bytes = 0
  #maxBytes: number
  #generation = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get maxBytes(): number {
    return this.#maxBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  get length(): number {
    return this.#fields.length - this.#first
  }

  /** Changes whenever an index may mean another field. */
  get generation(): number {
    return this.#generation
  }

  /** The field at an index of both tables, or undefined. */
  at(index: number): Field | undefined {
    if (index <= staticFields.length) return staticFields[index - 1]
    const at = this.#fields.length - (index - staticFields.length)
    return at < this.#first ? undefined : this.#fields[at]
  }

  /** The index of a field, 0 without one; in the dynamic table alone. */
  find(name: string, value: string): number {
    const fields = this.#fields
    for (let at = fields.length - 1; at >= this.#first; at--) {
      const field = fields[at]
      if (field?.value === value && field.name === name) {
        return staticFields.length + fields.length - at
      }
    }
    return 0
  }

  /** The index of some field of that name, 0 without one; in the dynamic table alone. */
  findName(name: string): number {
    const fields = this.#fields
    for (let at = fields.length - 1; at >= this.#first; at--) {
      if (fields[at]?.name === name) return staticFields.length + fields.length - at
    }
    return 0
  }

  /** Adds a field; older ones leave to make room. One that is too large empties the table. */
  add(name: string, value: string): void {
    this.#generation++
    const weight = weightOf(name, value)
    this.#evictTo(this.#maxBytes - weight)
    if (weight > this.#maxBytes) return
    this.#fields.push({ name, value })
    this.#bytes += weight
  }

  /** Changes how much fits. */
  resize(maxBytes: number): void {
    this.#generation++
    this.#maxBytes = maxBytes
    this.#evictTo(maxBytes)
  }

  #evictTo(maxBytes: number): void {
    while (this.#bytes > maxBytes && this.#first < this.#fields.length) {
      const field = this.#fields[this.#first++]
      if (field) this.#bytes -= weightOf(field.name, field.value)
    }
    if (this.#first > 64 && this.#first * 2 > this.#fields.length) {
      this.#fields = this.#fields.slice(this.#first)
      this.#first = 0
    }
  }
}
