/** What part of a file a problem is in. */
export type ProblemKind = 'file' | 'meta' | 'page' | 'pair' | 'bucket' | 'freelist'

/** One thing that is wrong with a database file. */
export interface Problem {
  readonly kind: ProblemKind
  /** `damage` hides or endangers what was stored; a `warning` wastes room and no more. */
  readonly severity: 'damage' | 'warning'
  /** The page it is in; undefined when it is about the whole file. */
  readonly page?: number
  /** In words, without the page. */
  readonly message: string
  /** What cannot be read because of it. */
  readonly lost?: Range
}

/** The pairs of one bucket that are not below `from` but below `below`; undefined has no limit. */
export interface Range {
  /** The names of the buckets from the root to it; empty for the root. */
  readonly bucket: readonly Buffer[]
  readonly from?: Buffer | undefined
  readonly below?: Buffer | undefined
}

/** A key as a person reads it: text where it is text, else hexadecimal. */
export function printable(key: Uint8Array): string {
  const text = Buffer.from(key).toString('utf8')
  const isText = /^[\P{C} ]+$/u.test(text) && !text.includes('\ufffd')
  return isText ? text : `0x${Buffer.from(key).toString('hex')}`
}

/** A bucket as a person reads it: `v1 / default / images`. */
export const bucketText = (names: readonly Uint8Array[]): string =>
  names.length === 0 ? 'the root' : `bucket ${names.map(printable).join(' / ')}`

/** A range as a person reads it. */
export function rangeText({ bucket, from, below }: Range): string {
  const where = bucketText(bucket)
  const [first, last] = [from, below].map((key) => key && JSON.stringify(printable(key)))
  if (first === undefined && last === undefined) return `all of ${where}`
  if (first === undefined) return `${where} before ${last}`
  return last === undefined ? `${where} from ${first} on` : `${where} from ${first} to ${last}`
}

/** Whether `key` of the bucket that `range` is about is in it. */
export const inRange = ({ from, below }: Omit<Range, 'bucket'>, key: Buffer): boolean =>
  (from === undefined || key.compare(from) >= 0) && (below === undefined || key.compare(below) < 0)
