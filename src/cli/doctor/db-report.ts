import type { Rewritten } from '#doctor/database.ts'
import type { CheckReport, MetaState } from '#lib/bolt/check.ts'
import type { Problem } from '#lib/bolt/problem.ts'
import { printable, rangeText } from '#lib/bolt/range.ts'
import type { Remedy } from '#lib/bolt/salvage.ts'

/** A report as a person reads it. */
export function checkText(report: CheckReport): string {
  const { path, size, pageSize, pages, buckets, pairs, problems, moreProblems } = report
  const free = report.sound || pages.freelist > 0 ? 'free' : 'free or out of reach'
  const kept = pages.branch + pages.leaf + pages.overflow
  const lines = [
    `${path}: ${size} bytes in pages of ${pageSize}`,
    ...report.metas.map(metaText),
    ...recordText(report),
    `${buckets} buckets with ${pairs} pairs`,
    `${pages.total} pages: ${kept} used (${pages.branch} branch, ${pages.leaf} leaf, ` +
      `${pages.overflow} overflow), ${pages.free} ${free}, ${pages.freelist} for the list of free ` +
      `pages, ${pages.leaked} lost`,
    ...problems.map(problemText),
    ...(moreProblems > 0 ? [`and ${moreProblems} more problems`] : []),
    report.sound ? 'sound' : 'DAMAGED',
  ]
  return `${lines.join('\n')}\n`
}

function metaText(state: MetaState, page: number): string {
  if (!state.valid) return `meta page ${page}: ${state.why}`
  const { txid, root, highWater } = state.meta
  return `meta page ${page}: valid, transaction ${txid}, root at page ${root}, ${highWater} pages`
}

/** The state that is in no meta page yet: the power was cut. */
function recordText({ meta, metas }: CheckReport): readonly string[] {
  if (meta === undefined) return []
  const { txid, root, highWater } = meta
  if (metas.some((state) => state.valid && state.meta.txid === txid)) return []
  return [`record: valid, transaction ${txid}, root at page ${root}, ${highWater} pages`]
}

/** One problem as a person reads it: `damage: page 7: is all zero; lost: all of bucket a`. */
export function problemText({ severity, page, message, lost }: Problem): string {
  const where = page === undefined ? 'the file' : `page ${page}`
  const loss = lost === undefined ? '' : `; cannot be read: ${rangeText(lost)}`
  return `${severity}: ${where} ${message}${loss}`
}

/** What a repair did, as a person reads it. */
export function rewrittenText({ path, backup, salvaged }: Rewritten): string {
  const { source, certain, buckets, pairs, losses, doubts } = salvaged
  const doubt = certain ? '' : ' (no meta page is valid: it may be an older state)'
  const lines = [
    `wrote ${path} as of ${source}${doubt}: ${buckets} buckets with ${pairs} pairs; it is sound`,
    ...(backup === undefined ? [] : [`the damaged file is ${backup}`]),
    ...doubts.map(problemText),
    ...losses.map((loss) => `${remedyText[loss.remedy]}: ${rangeText(loss)}`),
    ...(losses.length === 0 ? ['nothing is lost'] : []),
  ]
  return `${lines.join('\n')}\n`
}

const remedyText = {
  previous: 'taken as it was one commit before',
  orphans: 'taken from pages that nothing refers to any more (some of it may be out of date)',
  none: 'LOST',
} as const satisfies Record<Remedy, string>

/** A report as JSON: keys as text where they are text, else hexadecimal. */
export function reportJson(report: object): string {
  return `${JSON.stringify(report, jsonValue, 2)}\n`
}

/** Buffers come here as objects, because they have a `toJSON` of their own. */
function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (typeof value !== 'object' || value === null) return value
  const { type, data } = Object.fromEntries(Object.entries(value))
  return type === 'Buffer' && Array.isArray(data) ? printable(Uint8Array.from(data)) : value
}
