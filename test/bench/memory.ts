import { setTimeout as sleep } from 'node:timers/promises'

import { megabytes, memoryOf } from './processes.ts'
import { nothing, type Prepared, type Row, type Subject } from './row.ts'

const rss = 'idle memory of the daemon, RSS'
const pss = 'idle memory of the daemon, PSS'
const idleMs = 2000

/** What the daemon holds when it has just started on a root that is in use. */
export const memory: Row = {
  name: 'memory',
  figures: [
    { name: rss, unit: 'MB', better: 'lower' },
    { name: pss, unit: 'MB', better: 'lower' },
  ],
  setup: ({ daemon }: Subject): Promise<Prepared> =>
    Promise.resolve({
      measure: async () => {
        await daemon.stop()
        await daemon.start()
        await sleep(idleMs)
        const { pid } = daemon.process
        if (pid === undefined) throw new Error('the daemon has no process')
        const held = await memoryOf(pid)
        return { [rss]: megabytes(held.rss), [pss]: megabytes(held.pss) }
      },
      [Symbol.asyncDispose]: nothing,
    }),
}
