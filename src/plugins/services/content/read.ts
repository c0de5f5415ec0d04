import type { Reader, Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import { digestFault } from '#lib/digest/digest.ts'
import { CodedError } from '#lib/errors/errors.ts'
import { encodedAs } from '#lib/rpc/codec.ts'

import { frameFor } from './read-frame.ts'

/** Bytes of one message. Source: upstream `contentserver.go`, `bufPool`. */
const chunkBytes = 1 << 20

/** Which bytes of which blob. A size of 0 or less, or one that is too large, means all the rest. */
export interface ReadRequest {
  readonly digest: string
  readonly offset: bigint
  readonly size: bigint
}

/** A piece of what was asked for; `offset` counts from the first byte of that, not of the blob. */
export interface ReadResponse {
  readonly offset: bigint
  readonly data: Uint8Array
}

/**
 * The bytes of a blob in pieces of 1 MiB.
 *
 * @throws `invalid_argument` for a bad digest, `not_found`, `out_of_range` for an offset past the end.
 */
export async function* read(
  ctx: Context,
  store: Store,
  { digest, offset, size }: ReadRequest,
): AsyncGenerator<ReadResponse, void, undefined> {
  const fault = digestFault(digest)
  if (fault !== undefined) throw new CodedError('invalid_argument', `${digest}: ${fault}`)

  await using reader = await store.reader(ctx, digest)
  const start = Math.max(0, Number(offset))
  if (start > reader.size) {
    throw new CodedError('out_of_range', `read past object length ${reader.size} bytes`)
  }
  const wanted = size > 0n ? Number(size) : reader.size
  const end = Math.min(reader.size, start + wanted)

  for (let at = start; at < end; ) {
    ctx.signal.throwIfAborted()
    const piece = await readPiece(reader, at, { length: Math.min(chunkBytes, end - at), start })
    if (piece.data.length === 0) {
      throw new CodedError('data_loss', `${digest} ended at ${at} of ${reader.size} bytes`)
    }
    yield piece
    at += piece.data.length
  }
}

/** One answer. Where the reader can, it reads into the message as it goes out: nothing is copied. */
async function readPiece(
  reader: Reader,
  at: number,
  { length, start }: { readonly length: number; readonly start: number },
): Promise<ReadResponse> {
  const offset = BigInt(at - start)
  if (!reader.readInto) return { offset, data: await reader.read(at, length) }
  const frame = frameFor(at - start, length)
  const count = await reader.readInto(at, frame.data)
  const response = { offset, data: frame.data.subarray(0, count) }
  // The file is shorter than it was: the length that stands before the bytes is wrong.
  return count < length ? response : encodedAs(response, frame.bytes)
}
