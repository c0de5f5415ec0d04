import { type IdleContainers, idleContainers } from './containers.ts'
import { megabytes, memoryOf, parentOf } from './processes.ts'
import type { Prepared, Row, Samples, Subject } from './row.ts'

const first = 'shim memory with 1 idle container, PSS'
const each = 'shim memory per container, 20 idle, PSS'
const more = 'shim memory for each further one, PSS'
const count = 20

/** What shims hold while containers idle. The shim of a container is the parent of its process. */
export const density: Row = {
  name: 'density',
  figures: [
    { name: first, unit: 'MB', better: 'lower' },
    { name: each, unit: 'MB', better: 'lower' },
    { name: more, unit: 'MB', better: 'lower' },
  ],
  setup: (subject: Subject): Promise<Prepared> => {
    return Promise.resolve({
      measure: async () => {
        await using containers = idleContainers(subject)
        return await measure(containers)
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    })
  },
}

async function measure(containers: IdleContainers): Promise<Samples> {
  const shims = new Set<number>()
  const startOne = async (): Promise<void> => {
    shims.add(await parentOf(await containers.start()))
  }
  await startOne()
  const one = await heldBy(shims)
  for (let n = 1; n < count; n++) await startOne()
  const all = await heldBy(shims)
  return { [first]: one, [each]: all / count, [more]: (all - one) / (count - 1) }
}

async function heldBy(pids: ReadonlySet<number>): Promise<number> {
  let bytes = 0
  for (const pid of pids) bytes += (await memoryOf(pid)).pss
  return megabytes(bytes)
}
