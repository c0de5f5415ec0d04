import { nothing, type Prepared, type Row, type Subject } from './row.ts'

const name = 'ctr run --rm, 20 at once'
const count = 20

/** Containers that many clients ask for at the same moment. */
export const atOnce: Row = {
  name: 'at-once',
  figures: [{ name, unit: 'runs/s', better: 'higher' }],
  setup: async (subject: Subject): Promise<Prepared> => {
    await runAll(subject, 2)
    return {
      measure: async () => {
        const start = performance.now()
        await runAll(subject, count)
        return { [name]: (count * 1000) / (performance.now() - start) }
      },
      [Symbol.asyncDispose]: nothing,
    }
  },
}

async function runAll({ ctr, image }: Subject, many: number): Promise<void> {
  const runs = Array.from({ length: many }, (_, n) => ctr('run', '--rm', image, `run-${n}`, 'true'))
  const settled = await Promise.allSettled(runs)
  const failed = settled.find((run) => run.status === 'rejected')
  if (failed) throw new Error('a container did not run', { cause: failed.reason })
}
