import { appendFileSync } from 'node:fs'

import { random } from './random.ts'

/*
 * Tests that can run for hours. `npm test` runs a short slice of each; `npm run soak` sets
 *
 *     SOAK         how many times the slice, at most
 *     SOAK_SEED    seed of the first cycle; the next cycle has the next seed
 *     SOAK_UNTIL   ms since the epoch: no cycle begins later
 *     SOAK_REPORT  file that gets one line of JSON when a test ends: what it did, and how often
 */

const { env } = process
const factor = Number(env['SOAK'] ?? 1)
const firstSeed = Number(env['SOAK_SEED'] ?? 1)
const until = Number(env['SOAK_UNTIL'] ?? Infinity)
const report = env['SOAK_REPORT']
const progressMs = 15_000

/** One cycle of a long test. */
export interface Cycle {
  readonly number: number
  /** With this as `--seed` the cycle is the first one. */
  readonly seed: number
  /** Whole numbers of 0…`limit` - 1, the same for the same seed. */
  readonly below: (limit: number) => number
  /** Counts something that is worth being told at the end. */
  readonly count: (what: string, times?: number) => void
  /** How often that was so far. */
  readonly counted: (what: string) => number
  /** Tells how something stands, in place of how it stood before. */
  readonly gauge: (what: string, value: number) => void
}

/** What a soak test reports. */
export interface SoakReport {
  readonly name: string
  readonly cycles: number
  readonly seconds: number
  readonly failedSeed?: number | undefined
  readonly counts: Readonly<Record<string, number>>
}

/** How long a test with a limit of `ms` for its slice may take, in ms. */
export const soakMs = (ms: number): number =>
  until === Infinity ? ms * Math.max(1, factor) : Math.max(0, until - Date.now()) + ms

/**
 * Runs `body` `slice` times, or as often as the environment says.
 *
 * @throws what `body` throws, with the seed of the cycle.
 */
export async function soak(
  name: string,
  slice: number,
  body: (cycle: Cycle) => Promise<void>,
): Promise<void> {
  const counts: Record<string, number> = {}
  const count = (what: string, times = 1): void => {
    counts[what] = (counts[what] ?? 0) + times
  }
  const counted = (what: string): number => counts[what] ?? 0
  const gauge = (what: string, value: number): void => {
    counts[what] = Math.round(value)
  }
  const began = Date.now()
  const cycles = Math.max(1, Math.round(slice * factor))
  let [number, told] = [0, began]
  const tell = (failedSeed?: number): void => {
    const seconds = Math.round((Date.now() - began) / 1000)
    if (report) {
      const line: SoakReport = { name, cycles: number, seconds, failedSeed, counts }
      appendFileSync(report, `${JSON.stringify(line)}\n`)
    }
  }
  for (; number < cycles && (number === 0 || Date.now() < until); number++) {
    const seed = firstSeed + number
    try {
      await body({ number, seed, below: random(seed), count, counted, gauge })
    } catch (err) {
      tell(seed)
      throw new Error(`${name}: cycle ${number} with seed ${seed} failed`, { cause: err })
    }
    if (report && Date.now() - told >= progressMs) {
      told = Date.now()
      const seconds = Math.round((told - began) / 1000)
      process.stderr.write(`  ${name}: ${number + 1} cycles, ${seconds} s ${textOf(counts)}\n`)
    }
  }
  tell()
}

/** Counts as a person reads them. */
export const textOf = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([what, times]) => `${what} ${times}`)
    .join(', ')
