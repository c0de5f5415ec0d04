import type { TransferPart, TransferProgress } from '#client/transfer/progress.ts'
import { bytes } from '#cli/bytes.ts'
import { duration } from '#cli/duration.ts'

/*
 * A transfer on a terminal, a line for each part and one for the whole:
 *
 *   manifest d54de79f56e9  complete
 *   layer    38420e28bc85  downloading  [############------------]   4.1 MB of 8.2 MB
 *   4.1 MB of 8.2 MB, 12.0 MB/s, 1 s left
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
  const parts = progress.parts.filter(({ name }) => nameForm.test(name))
  const room = Math.max(1, rows - 1)
  // What goes on is more interesting than what is over.
  const shown = parts.length <= room ? parts : parts.filter(isActive).slice(0, room)
  const kinds = Math.max(0, ...shown.map(({ name }) => kindOf(name).length))
  const events = Math.max(0, ...shown.map(({ event }) => event.length))
  const lines = shown.map((part) => partLine(part, kinds, events))
  return [...lines, totalLine(progress, ms)].map((line) => line.slice(0, columns))
}

/** `layer-sha256:<hex>`; of a manifest that is pushed the tag is before the digest. */
const nameForm = /^([a-z]+)-(?:.*@)?[a-z0-9]+:([0-9a-f]{12})[0-9a-f]*$/

const kindOf = (name: string): string => nameForm.exec(name)?.[1] ?? ''

const isActive = ({ event }: TransferPart): boolean =>
  ['downloading', 'uploading', 'converting', 'extracting'].includes(event)

function partLine(part: TransferPart, kinds: number, events: number): string {
  const { name, event, moved, total, unpacked } = part
  const start = `${kindOf(name).padEnd(kinds)}  ${nameForm.exec(name)?.[2] ?? name}  `
  if (!isActive(part)) return `${start}${event}`
  const done = event === 'extracting' ? unpacked : moved
  // A daemon that does not count while it unpacks has no bar to show.
  if (event === 'extracting' && unpacked === 0) return `${start}${event}`
  return `${start}${event.padEnd(events)}  ${bar(done, total)}  ${bytes(done)} of ${bytes(total)}`
}

function bar(done: number, total: number): string {
  const full = Math.round((total > 0 ? Math.min(1, done / total) : 0) * barWidth)
  return `[${'#'.repeat(full)}${'-'.repeat(barWidth - full)}]`
}

function totalLine({ message, moved, total, present }: TransferProgress, ms: number): string {
  if (total === 0) return message
  const came = moved - present
  const rate = ms > settleMs ? (came / ms) * 1000 : 0
  const left = rate > 0 && moved < total ? `, ${duration((total - moved) / rate)} left` : ''
  const speed = rate > 0 ? `, ${bytes(rate)}/s` : ''
  return `${bytes(moved)} of ${bytes(total)}${speed}${left}`
}
