import { describe, failedPrecondition } from '#lib/errors/errors.ts'

import type { Source } from './remotes.ts'

/**
 * `length` bytes of `source` from `offset` on. @param onSent hears how many have gone so far.
 *
 * A source that fails, or that has less, is no fault of the connection, and ends as
 * `failed_precondition`.
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
    throw failedPrecondition(`cannot read what is to be sent: ${describe(err)}`, { cause: err })
  }
}
