import { parseDuration } from '#lib/go/duration.ts'
import { parseRfc3339 } from '#lib/go/rfc3339.ts'

/**
 * The time that `text` means: RFC 3339, a day, seconds since 1970, or a Go duration before `now` (in
 * ms). `undefined` for anything else.
 */
export function parseMoment(text: string, now: number): Date | undefined {
  if (/^\d+(\.\d+)?$/.test(text)) return new Date(Number(text) * 1000)
  if (/^\d{4}-\d{2}-\d{2}$/.test(text)) return moment(() => parseRfc3339(`${text}T00:00:00Z`))
  if (/^\d{4}-/.test(text)) return moment(() => parseRfc3339(text))
  return moment(() => new Date(now - parseDuration(text)))
}

function moment(parse: () => Date): Date | undefined {
  try {
    return parse()
  } catch (err) {
    if (err instanceof RangeError) return undefined
    throw err
  }
}
