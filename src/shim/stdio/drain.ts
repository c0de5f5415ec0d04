import type { ProcessStdio } from './stdio.ts'

/** How long output may take to reach a client, ms. Source: upstream `process/init.go`. */
const drainMs = 10_000

/** Waits until what an ended process wrote has reached the client, but not forever. */
export async function drain(stdio: ProcessStdio): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  using _ = setTimeout(resolve, drainMs)
  await Promise.race([stdio.drained(), promise])
}
