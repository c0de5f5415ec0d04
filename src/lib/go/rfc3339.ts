const pattern = /^(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:[.,](\d+))?(Z|[+-]\d{2}:\d{2})$/

/**
 * `date` in UTC as Go's `time.RFC3339Nano` writes it: no trailing zeros in the fraction, and no
 * fraction when it is zero.
 */
export function formatRfc3339(date: Date): string {
  return date.toISOString().replace(/\.?0*Z$/, 'Z')
}

/**
 * The time in `text`, with any zone and any number of digits after the second, to the millisecond.
 *
 * @throws RangeError when it is not RFC 3339.
 */
export function parseRfc3339(text: string): Date {
  const [, day, clock, fraction = '', zone] = pattern.exec(text) ?? []
  const date = new Date(`${day}T${clock}.${fraction.padEnd(3, '0').slice(0, 3)}${zone}`)
  if (Number.isNaN(date.getTime())) throw new RangeError(`cannot parse ${text} as a time`)
  return date
}
