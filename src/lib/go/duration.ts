/** Milliseconds in each unit of a Go duration. */
const units: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}

const part = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/y

/**
 * A Go duration (`1m30s`, `-1.5h`, `0`) in milliseconds.
 *
 * Source: Go `time.ParseDuration`.
 * @throws RangeError when it is not one.
 */
export function parseDuration(text: string): number {
  const sign = text.startsWith('-') ? -1 : 1
  const body = /^[+-]/.test(text) ? text.slice(1) : text
  if (body === '0') return 0
  let ms = 0
  let at = 0
  while (at < body.length) {
    part.lastIndex = at
    const match = part.exec(body)
    const [whole = '', amount = '', unit = ''] = match ?? []
    if (match === null) break
    ms += Number(amount) * (units[unit] ?? 0)
    at += whole.length
  }
  if (at === 0 || at < body.length) {
    throw new RangeError(`unable to parse ${text} into a time duration`)
  }
  return sign * ms
}

/**
 * `ms` as Go prints a duration: `100ms`, `1m30s`, `0s`.
 *
 * Source: Go `time.Duration.String`.
 */
export function formatDuration(ms: number): string {
  if (ms === 0) return '0s'
  const sign = ms < 0 ? '-' : ''
  const abs = Math.abs(ms)
  if (abs < 1e-3) return `${sign}${trim(abs * 1e6)}ns`
  if (abs < 1) return `${sign}${trim(abs * 1e3)}µs`
  if (abs < 1000) return `${sign}${trim(abs)}ms`
  const hours = Math.floor(abs / 3_600_000)
  const minutes = Math.floor(abs / 60_000) % 60
  const seconds = `${trim((abs % 60_000) / 1000)}s`
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}`
  return minutes > 0 ? `${sign}${minutes}m${seconds}` : `${sign}${seconds}`
}

/** As decimal text, without digits that are noise. */
const trim = (value: number): string => String(Number(value.toFixed(9)))
