import { bytes } from '#cli/bytes.ts'
import type { Finding, StoreReport } from '#doctor/finding.ts'
import { isLeft } from '#doctor/finding.ts'
import { counted } from '#doctor/words.ts'

/** Particulars of one finding that are printed. */
const mostDetails = 10
/** Notes of one kind that are printed one by one. */
const mostNotes = 3

/** A report as a person reads it. */
export function reportText(report: StoreReport): string {
  const { findings } = report
  const shown = findings.filter((finding, index) => {
    if (finding.level !== 'note') return true
    const before = findings.slice(0, index).filter(({ kind }) => kind === finding.kind)
    return before.length < mostNotes
  })
  const blocks = shown.map(findingText)
  const hidden = findings.length - shown.length
  if (hidden > 0) blocks.push(`… and ${hidden} more notes like these: --json has them all\n`)
  return [...blocks, summary(report)].join('\n')
}

function findingText(finding: Finding): string {
  const { level, namespace, what, where, details = [], consequence, advice, outcome } = finding
  const lines = [
    `${level.padEnd(8)} ${what}`,
    field('where', namespace === undefined ? where : `${where} (namespace ${namespace})`),
    ...details.slice(0, mostDetails).map((detail) => field('', `- ${detail}`)),
    field('so', consequence),
    outcome ? field(outcome.repaired ? 'done' : 'not done', outcome.text) : field('to do', advice),
  ]
  return `${lines.join('\n')}\n`
}

const field = (name: string, text: string): string => `         ${name.padEnd(8)} ${text}`

function summary(report: StoreReport): string {
  const { checked, findings, quick, repair, root, seconds, sound } = report
  const left = findings.filter(isLeft)
  const errors = left.filter(({ level }) => level === 'error').length
  const warnings = left.length - errors
  const done = findings.filter(({ outcome }) => outcome?.repaired).length
  const read = quick
    ? `${checked.blobs} blobs by size`
    : `${checked.blobs} blobs (${bytes(checked.blobBytes)}), ${checked.layers} layers (${checked.files} files)`
  const verdict = sound
    ? `${root} is sound`
    : `${root}: ${counted(errors, 'error')} and ${counted(warnings, 'warning')} ${repair ? 'left' : 'found'}`
  const repairs = repair ? `, ${done} repaired` : ''
  const looked = `${checked.images} images, ${checked.containers} containers, ${checked.snapshots} snapshots, ${read}`
  return `${verdict}${repairs}\nlooked at ${looked} in ${seconds.toFixed(1)} s\n`
}
