import { run } from '#testing/daemon.ts'

import { forgetPeak, megabytes, peakOf } from './processes.ts'
import {
  type Figure,
  nothing,
  type Prepared,
  type RegistryImage,
  type RegistryImages,
  type Row,
  type Samples,
  type Subject,
} from './row.ts'

/** What is pulled, and by how many at once. */
interface Load {
  readonly figure: string
  readonly image: 'layer' | 'layers' | 'files'
  readonly times: number
}

const loads: readonly Load[] = [
  { figure: 'pull, a layer of 200 MB', image: 'layer', times: 1 },
  { figure: 'pull, 50 layers', image: 'layers', times: 1 },
  { figure: 'pull, many small files', image: 'files', times: 1 },
  { figure: 'pull, one image ten times at once', image: 'files', times: 10 },
]
const peak = 'peak memory of these pulls, RSS'
const byClient = (figure: string): string => `${figure}, by a client of 1.x`

/**
 * Images from a registry on this machine, pulled and unpacked by each containerd's own `ctr`: 2.x has the
 * daemon do it, 1.x does it itself. wharfd is measured with both.
 */
export const pulling: Row = {
  name: 'pull',
  registry: true,
  figures: loads
    .flatMap(({ figure }): Figure[] => [
      { name: figure, unit: 's', better: 'lower' },
      { name: byClient(figure), unit: 's', better: 'lower', against: figure },
    ])
    .concat({ name: peak, unit: 'MB', better: 'lower' }),
  setup: (subject: Subject): Promise<Prepared> =>
    Promise.resolve({
      measure: async () => await measure(subject),
      [Symbol.asyncDispose]: nothing,
    }),
}

async function measure(subject: Subject): Promise<Samples> {
  const { registry, daemon, contender, ctr, ownCtr } = subject
  if (!registry) throw new Error('there is no registry to pull from')
  const { pid } = daemon.process
  if (pid === undefined) throw new Error('the daemon has no process')
  await forgetPeak(pid)
  const samples: Record<string, number> = {}
  for (const load of loads) samples[load.figure] = await pull(ownCtr, registry, load)
  samples[peak] = megabytes(await peakOf(pid))
  if (contender.containerd) return samples
  for (const load of loads) samples[byClient(load.figure)] = await pull(ctr, registry, load)
  return samples
}

/** @returns how many seconds it takes; afterwards nothing is left of it. */
async function pull(
  ctr: Subject['ctr'],
  registry: RegistryImages,
  { image, times }: Load,
): Promise<number> {
  const { reference }: RegistryImage = registry[image]
  await run('sync', [])
  const start = performance.now()
  const pulls = Array.from({ length: times }, async () => {
    await ctr('image', 'pull', '--plain-http', reference)
  })
  await Promise.all(pulls)
  const seconds = (performance.now() - start) / 1000
  await ctr('image', 'rm', '--sync', reference)
  return seconds
}
