import { idleContainers } from './containers.ts'
import type { Prepared, Row, Subject } from './row.ts'

const name = 'ctr task exec, p50'

/** One more process in a container that runs. */
export const exec: Row = {
  name: 'exec',
  figures: [{ name, unit: 'ms', better: 'lower' }],
  setup: async (subject: Subject): Promise<Prepared> => {
    await using scope = new AsyncDisposableStack()
    await scope.use(idleContainers(subject)).start()
    const count = subject.quick ? 2 : 20
    await execs(subject, 2)
    const owned = scope.move()
    return {
      measure: async () => ({ [name]: await execs(subject, count) }),
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
