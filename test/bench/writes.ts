import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

import { nothing, type Prepared, type Row, type Subject } from './row.ts'

const many = 'durable writes, 64 in flight'
const lone = 'durable writes, one at a time'

const driver = fileURLToPath(new URL('./writes-driver.ts', import.meta.url))

/** Leases created per second: each is on disk when it is acknowledged. */
export const writes: Row = {
  name: 'writes',
  figures: [
    { name: many, unit: 'writes/s', better: 'higher' },
    { name: lone, unit: 'writes/s', better: 'higher' },
  ],
  setup: async (subject: Subject): Promise<Prepared> => {
    const counts = subject.quick ? [300, 100] : [4000, 1000]
    const [inFlight = 0, alone = 0] = counts
    await drive(subject, 64, 200)
    return {
      measure: async () => ({
        [many]: await drive(subject, 64, inFlight),
        [lone]: await drive(subject, 1, alone),
      }),
      [Symbol.asyncDispose]: nothing,
    }
  },
}

/** As many writes for every daemon: their databases stay equally large. @returns writes/s. */
async function drive(subject: Subject, flight: number, count: number): Promise<number> {
  const args = [subject.daemon.address, subject.namespace, `${flight}`, `${count}`]
  const child = fork(driver, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const exited = once(child, 'exit')
  let seconds = Number.NaN
  child.on('message', (message) => {
    seconds = Number(message)
  })
  const [code] = await exited
  if (code !== 0 || !(seconds > 0)) throw new Error(`the writer ended with ${String(code)}`)
  return count / seconds
}
