import { describe } from '#lib/errors/errors.ts'

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
    const remark = ours ? await tryCrun(subject) : undefined
    await using scope = new AsyncDisposableStack()
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
        if (!ours || remark !== undefined) return measured
        return { ...measured, [crunMedian]: await runs(subject, count, ...withCrun) }
      },
      ...(remark !== undefined && { remark }),
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    }
  },
}

const withCrun = ['--runc-binary', 'crun']
const aroundHybrid =
  'it does under unshare -m sh -c "umount /sys/fs/cgroup/unified && npm run bench -- --only run"'

/** Warms up. @returns why crun runs nothing here; older ones refuse some machines' cgroups. */
async function tryCrun(subject: Subject): Promise<string | undefined> {
  if (!subject.crun) return 'wharfd with crun: it is not installed'
  try {
    await runs(subject, 2, ...withCrun)
    return undefined
  } catch (err) {
    await subject.ctr('container', 'rm', 'run-0').catch(() => {})
    const said = describe(err).trim().split('\n').at(-1)
    const hybrid = /hybrid/.test(said ?? '') ? `; ${aroundHybrid}` : ''
    return `wharfd with crun: ${said}${hybrid}`
  }
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
