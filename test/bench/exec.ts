import { idleContainers } from './containers.ts'
import { openFloor, repeat } from './floor.ts'
import type { Prepared, Row, Subject } from './row.ts'

const name = 'ctr task exec, p50'
const floor = 'ctr task exec, p50, ctr and runc alone'

/** One more process in a container that runs; and what takes a client and the runtime without a daemon. */
export const exec: Row = {
  name: 'exec',
  figures: [
    { name, unit: 'ms', better: 'lower' },
    { name: floor, unit: 'ms', better: 'lower', against: name },
  ],
  setup: async (subject: Subject): Promise<Prepared> => {
    await using scope = new AsyncDisposableStack()
    const ours = !subject.contender.containerd
    const alone = ours ? scope.use(await openFloor(subject)) : undefined
    if (!alone) await scope.use(idleContainers(subject)).start()
    const count = subject.quick ? 2 : 20
    await execs(subject, 2)
    const owned = scope.move()
    return {
      measure: async () => ({
        [name]: await execs(subject, count),
        ...(alone && { [floor]: await repeat(count, alone.exec) }),
      }),
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    }
  },
}

async function execs({ ctr }: Subject, count: number): Promise<readonly number[]> {
  const taken: number[] = []
  for (let n = 0; n < count; n++) {
    const start = performance.now()
    await ctr('task', 'exec', '--exec-id', `exec-${n}`, 'idle-0', 'true')
    taken.push(performance.now() - start)
  }
  return taken
}
