import { nothing, type Prepared, type Row, type Subject } from './row.ts'

const counts = [20, 100] as const
const nameOf = (count: number): string => `ctr run --rm, ${count} at once`

/** Containers that many clients ask for at the same moment. */
export const atOnce: Row = {
  name: 'at-once',
  figures: counts.map((count) => ({ name: nameOf(count), unit: 'runs/s', better: 'higher' })),
  setup: async (subject: Subject): Promise<Prepared> => {
    await runAll(subject, 2)
    return {
      measure: async () => {
        const samples: Record<string, number> = {}
        for (const count of counts) samples[nameOf(count)] = await rateOf(subject, count)
        return samples
      },
      [Symbol.asyncDispose]: nothing,
    }
  },
}

async function rateOf(subject: Subject, count: number): Promise<number> {
  const start = performance.now()
  await runAll(subject, count)
  return (count * 1000) / (performance.now() - start)
}

async function runAll({ ctr, image }: Subject, many: number): Promise<void> {
  const runs = Array.from({ length: many }, (_, n) => ctr('run', '--rm', image, `run-${n}`, 'true'))
  const settled = await Promise.allSettled(runs)
  const failed = settled.find((run) => run.status === 'rejected')
  if (failed) throw new Error('a container did not run', { cause: failed.reason })
}
