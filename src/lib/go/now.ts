/** Now, in ns since the epoch, as exactly as this Node knows it: before 26 that is in ms. */
export const epochNanoseconds = (): bigint =>
  typeof Temporal === 'undefined'
    ? BigInt(Date.now()) * 1_000_000n
    : Temporal.Now.instant().epochNanoseconds

/** Now in UTC, RFC 3339 with as many digits as there are, up to nine. */
export const rfc3339Now = (): string =>
  typeof Temporal === 'undefined' ? new Date().toISOString() : Temporal.Now.instant().toString()
