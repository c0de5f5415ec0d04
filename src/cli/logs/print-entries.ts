import type { Writable } from 'node:stream'

import { type LogEntry, formatEntry } from '#core/logs/json-file.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'

/** How entries are shown. */
export interface PrintOptions {
  /** As they are in the log, all on standard output. */
  readonly json: boolean
  /** The time before each line. */
  readonly timestamps: boolean
}

/**
 * Writes entries as the container has written them, each to its own stream. Ends early, and well,
 * when nobody reads any more.
 */
export async function printEntries(
  entries: AsyncIterable<LogEntry>,
  { json, timestamps }: PrintOptions,
): Promise<void> {
  /** Whether the next entry of a stream begins a line. */
  const fresh = { stdout: true, stderr: true }
  // Each write tells of its own error.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
  try {
    for await (const entry of entries) {
      const { stream, time, log } = entry
      if (json) {
        await write(process.stdout, formatEntry(entry))
        continue
      }
      const stamp = timestamps && fresh[stream] ? `${time} ` : ''
      fresh[stream] = log.endsWith('\n')
      await write(process[stream], stamp + log)
    }
  } catch (err) {
    if (!hasErrno(err, 'EPIPE')) throw err
  }
}

/** Waits while the reader is slow. @throws {SystemError} `EPIPE` when there is none. */
async function write(to: Writable, text: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  to.write(text, (err) => (err ? reject(err) : resolve()))
  await promise
}
