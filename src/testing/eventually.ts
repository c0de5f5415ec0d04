import { setTimeout as sleep } from 'node:timers/promises'

const pollMs = 50
const longestMs = 10_000

/** Looks again and again until there is something, and gives it. @throws {Error} after 10 s. */
export async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (let waited = 0; waited < longestMs; waited += pollMs) {
    const found = await look()
    if (found !== undefined) return found
    await sleep(pollMs)
  }
  throw new Error('it has not come')
}
