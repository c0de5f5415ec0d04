import type { Figure, Samples } from './row.ts'
import { quantile, ratio } from './statistics.ts'

/** What a contender was measured at in each round of a row. */
export type Rounds = ReadonlyMap<string, readonly Samples[]>

/** A line of the table: one figure of every contender. */
export interface Line {
  readonly row: string
  readonly figure: Figure
  /** The median, or the figure's quantile, by contender. */
  readonly values: Readonly<Record<string, number>>
  /** The figure of wharfd divided by that of each other contender. */
  readonly ratios: Readonly<Record<string, number>>
  /** Every sample, in the order they were taken. */
  readonly samples: Readonly<Record<string, readonly number[]>>
}

/** Sums up the rounds of a row: one line for each figure that was measured of anyone. */
export function linesOf(
  row: { readonly name: string; readonly figures: readonly Figure[] },
  rounds: Rounds,
  ours: string,
): readonly Line[] {
  return row.figures
    .map((figure) => lineOf(row.name, figure, rounds, ours))
    .filter(({ values }) => Object.keys(values).length > 0)
}

function lineOf(row: string, figure: Figure, rounds: Rounds, ours: string): Line {
  const samples: Record<string, readonly number[]> = {}
  const values: Record<string, number> = {}
  const ratios: Record<string, number> = {}
  for (const [label, measured] of rounds) {
    const own = samplesOf(measured, figure.name)
    if (own.length > 0) samples[label] = own
    const value = quantile(own, figure.quantile ?? 0.5)
    if (value !== undefined) values[label] = value
    if (label === ours) continue
    const other = quantile(
      samplesOf(measured, figure.against ?? figure.name),
      figure.quantile ?? 0.5,
    )
    const mine = quantile(samplesOf(rounds.get(ours) ?? [], figure.name), figure.quantile ?? 0.5)
    const divided = ratio(mine, other)
    if (divided !== undefined) ratios[label] = divided
  }
  return { row, figure, values, ratios, samples }
}

const samplesOf = (rounds: readonly Samples[], name: string): number[] =>
  rounds.flatMap((samples) => samples[name] ?? [])
