import { type Floor, openFloor } from './floor.ts'
import type { Prepared, Row, Subject } from './row.ts'

const name = 'ctr run --rm, 20 at once'
const floor = 'ctr run --rm, 20 at once, ctr and runc alone'
const count = 20

/** Containers that many clients ask for at the same moment; and as many clients and runtimes without a daemon. */
export const atOnce: Row = {
  name: 'at-once',
  figures: [
    { name, unit: 'runs/s', better: 'higher' },
    { name: floor, unit: 'runs/s', better: 'higher', against: name },
  ],
  setup: async (subject: Subject): Promise<Prepared> => {
    await runAll(subject, 2)
    await using scope = new AsyncDisposableStack()
    const ours = !subject.contender.containerd
    const alone = ours ? scope.use(await openFloor(subject)) : undefined
    const owned = scope.move()
    return {
      measure: async () => ({
        [name]: await rate(async () => await runAll(subject, count)),
        ...(alone && { [floor]: await rate(async () => await runAlone(alone)) }),
      }),
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    }
  },
}

async function rate(run: () => Promise<void>): Promise<number> {
  const start = performance.now()
  await run()
  return (count * 1000) / (performance.now() - start)
}

async function runAlone(alone: Floor): Promise<void> {
  await Promise.all(Array.from({ length: count }, async (_, n) => await alone.run(n)))
}

async function runAll({ ctr, image }: Subject, many: number): Promise<void> {
  const runs = Array.from({ length: many }, (_, n) => ctr('run', '--rm', image, `run-${n}`, 'true'))
  const settled = await Promise.allSettled(runs)
  const failed = settled.find((run) => run.status === 'rejected')
  if (failed) throw new Error('a container did not run', { cause: failed.reason })
}
