import { CodedError, codeOf, describe, failedPrecondition } from '#lib/errors/errors.ts'

import type { Source } from './remotes.ts'

/**
 * `length` bytes of `source` from `offset` on. @param onSent hears how many have gone so far.
 *
 * A source that fails, or that has less, is no fault of the connection, and ends as what the source says, or
 * as `failed_precondition`: never as `unavailable`, which would have it sent again.
 */
export async function* read(
  source: Source,
  offset: number,
  length: number,
  onSent?: (sent: number) => void,
): AsyncGenerator<Uint8Array, void> {
  let sent = 0
  for await (const chunk of guarded(source, offset)) {
    const part = chunk.subarray(0, length - sent)
    sent += part.length
    if (part.length > 0) yield part
    onSent?.(offset + sent)
    if (sent === length) return
  }
  if (sent < length) {
    throw failedPrecondition(
      `the content ends at ${offset + sent} bytes, before ${offset + length}`,
    )
  }
}

async function* guarded(source: Source, offset: number): AsyncGenerator<Uint8Array, void> {
  try {
    yield* source(offset)
  } catch (err) {
    const said = codeOf(err) ?? 'unavailable'
    const code = said === 'unavailable' ? 'failed_precondition' : said
    throw new CodedError(code, `cannot read what is to be sent: ${describe(err)}`, { cause: err })
  }
}
