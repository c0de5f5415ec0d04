import { Readable } from 'node:stream'

import type { Answer } from './exchange.ts'

/** `answer`, which is a whole, as the part from `offset` up to `end`: for hosts that know no ranges. */
export function cut(answer: Answer, offset: number, end: number | undefined): Answer {
  const part = slice(answer.body, offset, end ?? Infinity)
  return { ...answer, body: Readable.from(part, { objectMode: false }) }
}

/** Leaving it early ends `source`, too. */
async function* slice(
  source: AsyncIterable<Uint8Array>,
  offset: number,
  end: number,
): AsyncGenerator<Uint8Array, void> {
  let at = 0
  for await (const chunk of source) {
    const from = Math.max(0, offset - at)
    const to = Math.min(chunk.length, end - at)
    at += chunk.length
    if (from < to) yield chunk.subarray(from, to)
    if (at >= end) return
  }
}
