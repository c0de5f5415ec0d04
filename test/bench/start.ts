import { setTimeout as sleep } from 'node:timers/promises'

import { Version } from '#gen/services/version_pb.ts'
import { hasCode } from '#lib/errors/errors.ts'
import { connectGrpc } from '#lib/grpc/client.ts'

import { nothing, type Prepared, type Row, type Subject } from './row.ts'

const name = 'start to first answer'
const pauseMs = 2
const deadlineMs = 30_000

/** From the start of the process, on a root that is in use, to the first answer over gRPC. */
export const start: Row = {
  name: 'start',
  figures: [{ name, unit: 'ms', better: 'lower' }],
  setup: ({ daemon }: Subject): Promise<Prepared> =>
    Promise.resolve({
      measure: async () => {
        await daemon.stop()
        const before = performance.now()
        const booted = daemon.start()
        const answered = firstAnswer(daemon.address).then(() => performance.now() - before)
        const [ms] = await Promise.all([answered, booted])
        return { [name]: ms }
      },
      [Symbol.asyncDispose]: nothing,
    }),
}

/** Resolves when a daemon answers at `address`. */
export async function firstAnswer(address: string): Promise<void> {
  const signal = AbortSignal.timeout(deadlineMs)
  while (!(await answers(address, signal))) await sleep(pauseMs, undefined, { signal })
}

async function answers(address: string, signal: AbortSignal): Promise<boolean> {
  try {
    await using connection = await connectGrpc(address, { signal })
    await connection.client(Version).version({}, { signal })
    return true
  } catch (err) {
    if (!hasCode(err, 'unavailable')) throw err
    return false
  }
}
