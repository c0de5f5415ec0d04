import { dataLoss } from '#lib/errors/errors.ts'

import type { Reader } from './content.ts'

export interface PiecesOptions {
  /** The first byte; 0 when absent. */
  readonly offset?: number
  /** Bytes of one read; 1 MiB when absent. */
  readonly pieceBytes?: number
}

/** What `reader` has, in pieces. @throws `data_loss` when the file is cut off. */
export async function* readPieces(
  reader: Reader,
  { offset = 0, pieceBytes = 1 << 20 }: PiecesOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = offset; at < reader.size; ) {
    const piece = await reader.read(at, Math.min(pieceBytes, reader.size - at))
    if (piece.length === 0) throw dataLoss(`content ended at ${at} of ${reader.size} bytes`)
    at += piece.length
    yield piece
  }
}
