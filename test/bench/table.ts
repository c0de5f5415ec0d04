import { stripVTControlCharacters, styleText } from 'node:util'

import type { Line } from './results.ts'

/** How a table is written. */
export interface TableOptions {
  /** Contenders from left to right; the first is the one whose ratios are shown. */
  readonly labels: readonly string[]
  readonly colour: boolean
}

/**
 * The table, one line for each figure:
 *
 *     measure         unit  wharfd  1.6.20   2.1.9  /1.6.20  /2.1.9
 *     start             ms     151    75.9    77.0     1.99    1.96
 *
 * A ratio is of what the first contender has to what the other has; in colour, green where the
 * first is ahead.
 */
export function formatTable(lines: readonly Line[], options: TableOptions): string {
  const [, ...others] = options.labels
  const head = ['measure', 'unit', ...options.labels, ...others.map((label) => `/${label}`)]
  const cells = lines.map((line) => [
    line.figure.name,
    line.figure.unit,
    ...options.labels.map((label) => formatNumber(line.values[label])),
    ...others.map((label) => formatRatio(line, label, options.colour)),
  ])
  const heading = options.colour ? head.map((cell) => paint('bold', cell)) : head
  return align([heading, ...cells])
}

/** Three significant digits, and no fewer digits than the whole number has. */
export function formatNumber(value: number | undefined): string {
  if (value === undefined) return '-'
  const magnitude = Math.floor(Math.log10(Math.abs(value) || 1))
  const text = value.toFixed(Math.min(3, Math.max(0, 2 - magnitude)))
  return text.replace(/\B(?=(\d{3})+$)/g, ' ')
}

function formatRatio({ figure, ratios }: Line, label: string, colour: boolean): string {
  const value = ratios[label]
  if (value === undefined) return '-'
  const text = value.toFixed(2)
  if (!colour) return text
  const ahead = figure.better === 'lower' ? value < 1 : value > 1
  return paint(ahead ? 'green' : 'yellow', text)
}

const paint = (style: 'bold' | 'green' | 'yellow', text: string): string =>
  styleText(style, text, { validateStream: false })

/** The first two columns stand left, the numbers right. */
function align(rows: readonly (readonly string[])[]): string {
  const widthOf = (cell: string): number => stripVTControlCharacters(cell).length
  const columns = Math.max(...rows.map((row) => row.length))
  const widths = Array.from({ length: columns }, (_, n) =>
    Math.max(...rows.map((row) => widthOf(row[n] ?? ''))),
  )
  const padded = (cell: string, n: number): string => {
    const space = ' '.repeat((widths[n] ?? 0) - widthOf(cell))
    return n < 2 ? cell + space : space + cell
  }
  return rows.map((row) => row.map(padded).join('  ').trimEnd()).join('\n')
}
