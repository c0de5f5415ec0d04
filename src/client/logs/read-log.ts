import type { FileHandle } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

import { type LogEntry, parseEntry } from '#core/logs/json-file.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'

import { LogChain } from './log-chain.ts'
import { LogLines, findTail } from './log-lines.ts'

/** Which part of a log to read. */
export interface ReadLogOptions extends AbortOptions {
  /** Go on with what comes, until the process has ended. */
  readonly follow?: boolean
  /** Nothing from before. */
  readonly since?: Date
  /** Nothing from after; following ends then, too. */
  readonly until?: Date
  /** The last so many entries of what is there; all without it. */
  readonly tail?: number
}

/** What a follower may ask beside the files. */
export interface Followed {
  /**
   * Whether the process lives, whose log nobody writes: another shim host may go on with it. Without
   * it such a process counts as ended.
   */
  readonly lives?: () => Promise<boolean>
}

/** How often a follower looks for more, ms. */
const pollMs = 100
/** How often at most it asks for a process whose log nobody writes, ms. */
const lastPollMs = 1_600

/**
 * Reads a log that the driver `json-file` writes, oldest entry first, through every rotation.
 *
 * Following ends when the process has ended and all it wrote was read. What is half written, or is no
 * entry, is skipped.
 *
 * @throws `not_found`; the reason of the signal.
 */
export async function* readLog(
  path: string,
  options: ReadLogOptions & Followed = {},
): AsyncGenerator<LogEntry, void, undefined> {
  const { since, until } = options
  const [from, to] = [toKey(since), toKey(until)]
  for await (const line of lines(new LogChain(path), options)) {
    const entry = parseEntry(line)
    if (!entry) continue
    const key = from === '' && to === '' ? '' : keyOf(entry.time)
    if ((from === '' || key >= from) && (to === '' || key <= to)) yield entry
  }
}

async function* lines(
  chain: LogChain,
  options: ReadLogOptions & Followed,
): AsyncGenerator<string, void, undefined> {
  const start = await findStart(chain, options)
  let { file } = start
  let pauseMs = pollMs
  let reader = new LogLines(file, start.offset)
  try {
    for (;;) {
      // In this order: who does not write to this file any more has gone, or there is a next one; and
      // then the rest is all.
      const writing = await writerOf(chain, file, options)
      const over = writing === 'nobody'
      const next = await chain.after(file)
      yield* rest(reader, options)
      if (next) {
        await file.close()
        file = next
        reader = new LogLines(next)
      } else if (over) {
        return
      } else {
        pauseMs = writing === 'soon' ? Math.min(lastPollMs, pauseMs * 2) : pollMs
        await sleep(pauseMs, undefined, options)
      }
    }
  } finally {
    await file.close()
  }
}

async function* rest(
  reader: LogLines,
  { signal }: ReadLogOptions,
): AsyncGenerator<string, void, undefined> {
  for (;;) {
    signal?.throwIfAborted()
    const found = await reader.next()
    if (!found) return
    yield* found
  }
}

/** Who writes the lines that are asked for: nobody any more, somebody, or a next shim host soon. */
async function writerOf(
  chain: LogChain,
  file: FileHandle,
  { follow = false, until, lives }: ReadLogOptions & Followed,
): Promise<'nobody' | 'somebody' | 'soon'> {
  if (!follow || (until && until.getTime() < Date.now())) return 'nobody'
  if (await chain.isWritten(file)) return 'somebody'
  if (!lives) return 'nobody'
  if (await lives()) return 'soon'
  // Who was just asked may have ended behind a host that has begun to write.
  return (await chain.isWritten(file)) ? 'somebody' : 'nobody'
}

async function findStart(
  chain: LogChain,
  { tail }: ReadLogOptions,
): Promise<{ readonly file: FileHandle; readonly offset: number }> {
  if (tail === undefined) return { file: await chain.oldest(), offset: 0 }
  let file = await chain.newest()
  for (let wanted = tail; ; ) {
    const { offset, missing } = await findTail(file, wanted)
    const older = missing > 0 ? await chain.before(file) : undefined
    if (!older) return { file, offset }
    await file.close()
    file = older
    wanted = missing
  }
}

const toKey = (date: Date | undefined): string => (date ? keyOf(date.toISOString()) : '')

/** Times in UTC as text that sorts like them. */
function keyOf(time: string): string {
  const [, seconds = '', fraction = ''] = /^([^.Z]+)(?:\.(\d+))?Z$/.exec(time) ?? []
  return `${seconds}.${fraction.padEnd(9, '0')}`
}
