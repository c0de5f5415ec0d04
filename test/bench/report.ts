import type { Machine } from './machine.ts'
import type { Line } from './results.ts'
import type { BigImage } from './row.ts'
import { formatTable } from './table.ts'

/** All that a bench found; `--json` writes it as it is. */
export interface Report {
  readonly machine: Machine
  readonly rounds: number
  readonly quick: boolean
  readonly bigImage: BigImage | undefined
  /** Contenders, wharfd first. */
  readonly labels: readonly string[]
  readonly lines: readonly Line[]
  /** A sentence for each row that a contender could not be measured at. */
  readonly failures: readonly string[]
  /** What was left out because this machine can't do it, and why. */
  readonly remarks: readonly string[]
}

/** The report for people. */
export function textOf(report: Report, colour: boolean): string {
  const { rounds, quick, lines, labels } = report
  return [
    ...machineLines(report.machine),
    `rounds    ${rounds}, the daemons in turns${quick ? '; loads too small to compare' : ''}`,
    ...(report.bigImage ? [imageLine(report.bigImage)] : []),
    '',
    formatTable(lines, { labels, colour }),
    '',
    ...report.failures.map((failure) => `failed: ${failure}`),
    ...report.remarks.map((remark) => `left out: ${remark}`),
    'Only ratios of one run count: times change with the machine and the hour.',
  ].join('\n')
}

function machineLines({ processor, cores, kernel, memoryBytes, versions }: Machine): string[] {
  const memory = `${Math.round(memoryBytes / 2 ** 30)} GiB`
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  return [
    `machine   ${cores} × ${processor}, ${memory}, Linux ${kernel}`,
    `versions  ${programs.join(', ')}`,
  ]
}

function imageLine({ gzipBytes, tarBytes, files }: BigImage): string {
  const mega = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`
  return `import    ${mega(gzipBytes)} gzip, ${mega(tarBytes)} unpacked, ${files} files`
}
