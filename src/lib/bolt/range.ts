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

/** Whether `range` has the pair `key` of `bucket`, itself or in a nested bucket. */
export function covers(range: Range, bucket: readonly Buffer[], key: Buffer): boolean {
  const { length } = range.bucket
  return startsWith(bucket, range.bucket) && inRange(range, bucket[length] ?? key)
}

/** Whether some pair is in both. */
export function overlap(a: Range, b: Range): boolean {
  const [outer, inner] = a.bucket.length <= b.bucket.length ? [a, b] : [b, a]
  const name = inner.bucket[outer.bucket.length]
  if (!startsWith(inner.bucket, outer.bucket)) return false
  return name === undefined ? !isBefore(a, b) && !isBefore(b, a) : inRange(outer, name)
}

/** Whether every pair of `inner` is in `outer`. */
export function contains(outer: Range, inner: Range): boolean {
  const name = inner.bucket[outer.bucket.length]
  if (!startsWith(inner.bucket, outer.bucket)) return false
  if (name !== undefined) return inRange(outer, name)
  const [{ from, below }, other] = [outer, inner]
  return (
    (from === undefined || (other.from !== undefined && from.compare(other.from) <= 0)) &&
    (below === undefined || (other.below !== undefined && below.compare(other.below) >= 0))
  )
}

const startsWith = (names: readonly Buffer[], start: readonly Buffer[]): boolean =>
  start.every((name, i) => names[i]?.equals(name))

const isBefore = ({ below }: Range, { from }: Range): boolean =>
  below !== undefined && from !== undefined && below.compare(from) <= 0
