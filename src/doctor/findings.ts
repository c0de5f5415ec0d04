import { describe } from '#lib/errors/errors.ts'

import type { Finding, Outcome } from './finding.ts'

/**
 * Repairs go in this order: what others stand on comes first, and a directory that was replaced is
 * gone before leftovers are removed.
 */
const order = ['records', 'blobs', 'snapshots', 'layers', 'leftovers', 'images'] as const

/** Does something about a finding. It looks again at what it relies on: a check may be a while ago. */
export interface Repair {
  readonly step: (typeof order)[number]
  /** Of repairs of one step, the lower goes first; 0 unless given. */
  readonly rank?: number
  readonly run: () => Promise<Outcome>
}

export type NewFinding = Omit<Finding, 'repairable' | 'outcome'>

interface Case {
  readonly finding: NewFinding
  readonly repair: Repair | undefined
  outcome?: Outcome
}

/** Collects what the checks find, and repairs it when all have looked. */
export class Findings {
  readonly #cases: Case[] = []

  add(finding: NewFinding, repair?: Repair): void {
    this.#cases.push({ finding, repair })
  }

  /** Runs every repair; one that fails says so and keeps none of the others from being tried. */
  async repair(signal: AbortSignal): Promise<void> {
    for (const step of order) {
      const cases = this.#cases.filter(({ repair }) => repair?.step === step)
      for (const each of cases.toSorted((a, b) => rankOf(a) - rankOf(b))) {
        signal.throwIfAborted()
        each.outcome = await attempt(each.repair)
      }
    }
  }

  /** The worst first, and otherwise in the order in which they were found. */
  list(): readonly Finding[] {
    const levels = ['error', 'warning', 'note']
    return this.#cases
      .map(({ finding, repair, outcome }) => ({
        ...finding,
        repairable: repair !== undefined,
        ...(outcome && { outcome }),
      }))
      .toSorted((a, b) => levels.indexOf(a.level) - levels.indexOf(b.level))
  }
}

const rankOf = ({ repair }: Case): number => repair?.rank ?? 0

async function attempt(repair: Repair | undefined): Promise<Outcome> {
  try {
    return (await repair?.run()) ?? { repaired: false, text: 'nothing was done' }
  } catch (err) {
    return { repaired: false, text: `the repair failed: ${describe(err)}` }
  }
}

export const repaired = (text: string): Outcome => ({ repaired: true, text })
export const notRepaired = (text: string): Outcome => ({ repaired: false, text })
