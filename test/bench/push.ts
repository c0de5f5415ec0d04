import { run } from '#testing/daemon.ts'

import { openPushFloor } from './floor-push.ts'
import { forgetPeak, megabytes, peakOf } from './processes.ts'
import {
  type Figure,
  nothing,
  type Prepared,
  type RegistryImages,
  type Row,
  type Samples,
  type Subject,
} from './row.ts'

/** Which image is pushed, and what that is called. */
type Load = readonly [figure: string, image: 'layer' | 'layers']

const loads: readonly Load[] = [
  ['push, a layer of 200 MB', 'layer'],
  ['push, 50 layers', 'layers'],
]
const peak = 'peak memory of these pushes, RSS'
const byClient = (figure: string): string => `${figure}, by a client of 1.x`
const byCurl = (figure: string): string => `${figure}, its blobs by curl alone`

/**
 * Images that came from archives, to repositories of a registry on this machine that have nothing of them; and how
 * long the registry takes for their blobs without a daemon.
 */
export const pushing: Row = {
  name: 'push',
  registry: true,
  figures: loads
    .flatMap(([figure]): Figure[] => [
      { name: figure, unit: 's', better: 'lower' },
      { name: byClient(figure), unit: 's', better: 'lower', against: figure },
      { name: byCurl(figure), unit: 's', better: 'lower', against: figure },
    ])
    .concat({ name: peak, unit: 'MB', better: 'lower' }),
  setup: async (subject: Subject): Promise<Prepared> => {
    const { ctr, registry } = subject
    if (!registry) throw new Error('there is no registry to push to')
    for (const [, image] of loads) {
      await ctr('image', 'import', '--no-unpack', registry[image].file)
    }
    return {
      measure: async () => await measure(subject, registry),
      [Symbol.asyncDispose]: nothing,
    }
  },
}

async function measure(subject: Subject, registry: RegistryImages): Promise<Samples> {
  const { daemon, contender, ctr, ownCtr } = subject
  const { pid } = daemon.process
  if (pid === undefined) throw new Error('the daemon has no process')
  await forgetPeak(pid)
  const samples: Record<string, number> = {}
  for (const [figure, image] of loads) {
    samples[figure] = await push(ownCtr, subject.namespace, registry, image)
  }
  samples[peak] = megabytes(await peakOf(pid))
  if (contender.containerd) return samples
  for (const [figure, image] of loads) {
    samples[byClient(figure)] = await push(ctr, subject.namespace, registry, image)
    await using floor = await openPushFloor(registry.host, registry[image].file)
    samples[byCurl(figure)] = await floor.push(`${subject.namespace}/curl-${++repositories}`)
  }
  return samples
}

let repositories = 0

async function push(
  ctr: Subject['ctr'],
  namespace: string,
  registry: RegistryImages,
  image: Load[1],
): Promise<number> {
  const reference = `${registry.host}/${namespace}/${image}-${++repositories}:1`
  await run('sync', [])
  const start = performance.now()
  await ctr('image', 'push', '--plain-http', reference, registry[image].name)
  return (performance.now() - start) / 1000
}
