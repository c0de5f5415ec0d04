import { suite, test } from 'node:test'

import { everyContainerd } from '#testing/containerd.ts'
import { root } from '#testing/root.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

import { Estate } from './handover-estate.ts'
import { checkEverything } from './handover-inventory.ts'
import { doSomething } from './handover-steps.ts'

/*
 * One root and one state directory that wharfd and a containerd hand to one another, some times
 * after a kill -9. Clients go on in several namespaces, with containers that run all the while, and
 * find with each daemon what they were told by the other. The two generations of containerd do not
 * meet: 1.6 knows nothing of the shims of 2.x.
 */

void suite('a root that two daemons hand to one another', () => {
  for (const peer of everyContainerd()) {
    const title = `keeps everything between wharfd and containerd ${peer.version}`
    void test(title, { timeout: soakMs(120_000) }, async (t) => {
      if (!root(t)) return
      await using estate = await Estate.open(peer)
      try {
        await soak(`handover ${peer.version}`, 4, async (cycle) => await oneTurn(estate, cycle))
      } catch (err) {
        t.diagnostic(await estate.describe())
        throw err
      }
    })
  }
})

async function oneTurn(estate: Estate, { below, count }: Cycle): Promise<void> {
  const killed = below(4) === 0
  await estate.handOver(killed ? 'SIGKILL' : 'SIGTERM')
  count(`${killed ? 'taken by' : 'handed to'} ${estate.owner}`)
  for (const namespace of estate.namespaces) {
    await checkEverything(estate, namespace)
    const steps = 3 + below(4)
    for (let step = 0; step < steps; step++) count(await doSomething(estate, namespace, below))
  }
}
