import { describe } from '#lib/errors/errors.ts'

import { ours, type Shared, startSubject } from './contenders.ts'
import { type Line, linesOf } from './results.ts'
import type { Contender, Prepared, Row, Samples } from './row.ts'
import { rotate } from './statistics.ts'

/** What is measured, of whom, how often. */
export interface RoundsOptions {
  readonly contenders: readonly Contender[]
  readonly rounds: number
  readonly shared: Shared
  /** Stops between two measurements. */
  readonly signal: AbortSignal
  /** Hears what is being done now. */
  readonly show: (doing: string) => void
}

/** What came of a row. */
export interface Measured {
  readonly lines: readonly Line[]
  /** A sentence for each contender that could not be measured. */
  readonly failures: readonly string[]
  /** What was left out because this machine can't do it, and why. */
  readonly remarks: readonly string[]
}

interface Ready {
  readonly label: string
  readonly prepared: Prepared
  readonly samples: Samples[]
}

/**
 * Measures a row in rounds: each contender once per round, and whoever was first is last in the
 * next one. All daemons stay for all rounds; the disk and the processors are one daemon's at a time.
 *
 * @throws the reason of the signal.
 */
export async function measureRow(row: Row, options: RoundsOptions): Promise<Measured> {
  const failures: string[] = []
  const failed = (label: string, err: unknown): void => {
    options.signal.throwIfAborted()
    failures.push(`${row.name} of ${label}: ${describe(err)}`)
  }
  await using scope = new AsyncDisposableStack()
  const all = await prepareAll(row, options, scope, failed)
  const broken = new Set<Ready>()
  for (let round = 0; round < options.rounds; round++) {
    for (const one of rotate(all, round).filter((ready) => !broken.has(ready))) {
      options.signal.throwIfAborted()
      options.show(`${row.name}, round ${round + 1} of ${options.rounds}: ${one.label}`)
      try {
        one.samples.push(await one.prepared.measure())
      } catch (err) {
        failed(one.label, err)
        broken.add(one)
      }
    }
  }
  options.show(`${row.name}: cleaning up`)
  const samples = new Map(all.map((one) => [one.label, one.samples]))
  const remarks = all.flatMap(({ prepared }) => prepared.remark ?? [])
  return { lines: linesOf(row, samples, ours.label), failures, remarks }
}

async function prepareAll(
  row: Row,
  { contenders, shared, signal, show }: RoundsOptions,
  scope: AsyncDisposableStack,
  failed: (label: string, err: unknown) => void,
): Promise<readonly Ready[]> {
  const ready: Ready[] = []
  for (const contender of contenders) {
    signal.throwIfAborted()
    show(`${row.name}: preparing ${contender.label}`)
    try {
      const subject = scope.use(await startSubject(contender, row.name, shared))
      const prepared = scope.use(await row.setup(subject))
      ready.push({ label: contender.label, prepared, samples: [] })
    } catch (err) {
      failed(contender.label, err)
    }
  }
  return ready
}
