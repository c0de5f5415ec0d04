import { openCrun, withCrun } from './crun.ts'
import { openFloor, repeat } from './floor.ts'
import type { Prepared, Row, Samples, Subject } from './row.ts'

const median = 'ctr run --rm, p50'
const slowest = 'ctr run --rm, p99'
const floor = 'ctr run --rm, p50, ctr and runc alone'
const crunMedian = 'ctr run --rm, p50, wharfd with crun'

/** A container from nothing to nothing, one after another; and what takes a client and the runtime without a daemon. */
export const run: Row = {
  name: 'run',
  figures: [
    { name: median, unit: 'ms', better: 'lower' },
    { name: slowest, unit: 'ms', better: 'lower', quantile: 0.99 },
    { name: floor, unit: 'ms', better: 'lower', against: median },
    { name: crunMedian, unit: 'ms', better: 'lower', against: median },
  ],
  setup: async (subject: Subject): Promise<Prepared> => {
    const count = subject.quick ? 2 : 20
    await runs(subject, 2)
    const ours = !subject.contender.containerd
    await using scope = new AsyncDisposableStack()
    const crun = ours ? scope.use(await openCrun(subject)) : undefined
    const alone = ours ? scope.use(await openFloor(subject)) : undefined
    const owned = scope.move()
    return {
      measure: async (): Promise<Samples> => {
        const ms = await runs(subject, count)
        const measured = {
          [median]: ms,
          [slowest]: ms,
          ...(alone && { [floor]: await repeat(count, alone.run) }),
        }
        if (!crun?.subject) return measured
        return { ...measured, [crunMedian]: await runs(crun.subject, count, ...withCrun) }
      },
      ...(crun?.remark !== undefined && { remark: crun.remark }),
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    }
  },
}

async function runs(
  { ctr, image }: Subject,
  count: number,
  ...options: readonly string[]
): Promise<readonly number[]> {
  const taken: number[] = []
  for (let n = 0; n < count; n++) {
    const start = performance.now()
    await ctr('run', '--rm', ...options, image, `run-${n}`, 'true')
    taken.push(performance.now() - start)
  }
  return taken
}
