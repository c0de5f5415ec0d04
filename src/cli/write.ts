import type { Writable } from 'node:stream'

/** Writes, and waits while the reader is slow. @throws {SystemError} `EPIPE` when there is none. */
export async function write(to: Writable, text: string | Uint8Array): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  to.write(text, (err) => (err ? reject(err) : resolve()))
  await promise
}
