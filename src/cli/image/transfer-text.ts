import type { TransferPart, TransferProgress } from '#client/transfer/progress.ts'
import { bytes } from '#cli/bytes.ts'
import { duration } from '#cli/duration.ts'
import { archiveName } from '#core/transfer/transfer.ts'

/*
 * A transfer on a terminal, a line for each part and one for the whole:
 *
 *   manifest d54de79f56e9  complete
 *   layer    38420e28bc85  downloading  [############------------]   4.1 MB of 8.2 MB
 *   4.1 MB of 8.2 MB, 12.0 MB/s, 1 s left
 *
 * An archive has a line of its own, without a digest:
 *
 *   archive  importing  [############------------]  4.1 MB of 8.2 MB
 */

const barWidth = 24
/** Before this much time has passed nobody can tell how long it will take, in ms. */
const settleMs = 1000

/** The lines of a transfer that goes on since `ms`, at most `rows` of them, none wider than `columns`. */
export function transferLines(
  progress: TransferProgress,
  ms: number,
  { rows, columns }: { readonly rows: number; readonly columns: number },
): readonly string[] {
  const parts = progress.parts.filter(({ name }) => name === archiveName || nameForm.test(name))
  const room = Math.max(1, rows - 1)
  // What goes on is more interesting than what is over.
  const shown = parts.length <= room ? parts : parts.filter(isActive).slice(0, room)
  const kinds = Math.max(0, ...shown.map(({ name }) => kindOf(name).length))
  const digests = Math.max(0, ...shown.map(({ name }) => digestOf(name).length))
  const events = Math.max(0, ...shown.map(({ event }) => event.length))
  const lines = shown.map((part) => partLine(part, { kinds, digests, events }))
  return [...lines, totalLine(progress, ms)].map((line) => line.slice(0, columns))
}

/** `layer-sha256:<hex>`; of a manifest that is pushed the tag is before the digest. */
const nameForm = /^([a-z]+)-(?:.*@)?[a-z0-9]+:([0-9a-f]{12})[0-9a-f]*$/

const kindOf = (name: string): string => nameForm.exec(name)?.[1] ?? name

const digestOf = (name: string): string => nameForm.exec(name)?.[2] ?? ''

const active: readonly string[] = [
  'downloading',
  'uploading',
  'converting',
  'exporting',
  'importing',
  'extracting',
]

const isActive = ({ event }: TransferPart): boolean => active.includes(event)

/** How wide columns are. */
interface Widths {
  readonly kinds: number
  readonly digests: number
  readonly events: number
}

function partLine(part: TransferPart, { kinds, digests, events }: Widths): string {
  const { name, event, moved, total, unpacked } = part
  const digest = digests > 0 ? `${digestOf(name).padEnd(digests)}  ` : ''
  const start = `${kindOf(name).padEnd(kinds)}  ${digest}`
  if (!isActive(part)) return `${start}${event}`
  const done = event === 'extracting' ? unpacked : moved
  // A daemon that does not count while it unpacks has no bar to show.
  if (event === 'extracting' && unpacked === 0) return `${start}${event}`
  const begin = `${start}${event.padEnd(events)}  `
  if (total === 0) return `${begin}${bytes(done)}`
  return `${begin}${bar(done, total)}  ${bytes(done)} of ${bytes(total)}`
}

function bar(done: number, total: number): string {
  const full = Math.round((total > 0 ? Math.min(1, done / total) : 0) * barWidth)
  return `[${'#'.repeat(full)}${'-'.repeat(barWidth - full)}]`
}

function totalLine({ message, moved, total, present }: TransferProgress, ms: number): string {
  if (total === 0 && moved === 0) return message
  const came = moved - present
  const rate = ms > settleMs ? (came / ms) * 1000 : 0
  const left = rate > 0 && moved < total ? `, ${duration((total - moved) / rate)} left` : ''
  const speed = rate > 0 ? `, ${bytes(rate)}/s` : ''
  const whole = total > 0 ? ` of ${bytes(total)}` : ''
  return `${bytes(moved)}${whole}${speed}${left}`
}
