import { readFileSync } from 'node:fs'

/*
 * Whether the memory of a process grows with what it has done. V8 lets garbage lie for a while, so
 * one sample says little: the samples after the warm-up are put into blocks of equal length, the
 * least of each block is what the process could not do without, and a line is laid through those.
 */

/** Of all samples, the first part is warm-up: caches fill, code is compiled, V8 finds its heap's size. */
const warmUp = 1 / 2
const blocks = 8
/** Half the width of the interval that has the true slope 19 times of 20, in standard errors, with `blocks` - 2 degrees of freedom. */
const studentT = 2.45

/** What a process held when so much had been done. */
export interface Sample {
  readonly done: number
  /** Its share of the memory, kB. */
  readonly pssKb: number
}

/** How a process grew. */
export interface Trend {
  /** kB per 1000 of what was done. */
  readonly slope: number
  /** The true slope is within so much of that, with 95 % confidence. */
  readonly bound: number
}

/** What a process holds now, kB: a page that n processes share counts a nth. `undefined` when it has ended. */
export function pssOf(pid: number): number | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
    return Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1])
  } catch {
    return undefined
  }
}

/** The trend of one process; `undefined` when there are too few samples to say anything. */
export function trendOf(samples: readonly Sample[]): Trend | undefined {
  const settled = samples.slice(Math.ceil(samples.length * warmUp))
  const length = Math.floor(settled.length / blocks)
  if (length < 2) return undefined
  const floors = Array.from({ length: blocks }, (_, n) => floorOf(settled, n * length, length))
  return lineThrough(floors)
}

function floorOf(samples: readonly Sample[], from: number, length: number): Sample {
  const block = samples.slice(from, from + length)
  const pssKb = Math.min(...block.map((sample) => sample.pssKb))
  return { done: mean(block.map(({ done }) => done)), pssKb }
}

/** Least squares. */
function lineThrough(points: readonly Sample[]): Trend {
  const [x, y] = [mean(points.map(({ done }) => done)), mean(points.map(({ pssKb }) => pssKb))]
  const spread = sum(points.map(({ done }) => (done - x) ** 2))
  const slope = sum(points.map(({ done, pssKb }) => (done - x) * (pssKb - y))) / spread
  const rest = sum(points.map(({ done, pssKb }) => (pssKb - y - slope * (done - x)) ** 2))
  const error = Math.sqrt(rest / (points.length - 2) / spread)
  return { slope: 1000 * slope, bound: 1000 * studentT * error }
}

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0)
const mean = (values: readonly number[]): number => sum(values) / values.length
