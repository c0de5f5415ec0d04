import { closeSync, openSync, readSync } from 'node:fs'

import type { ComingBlob } from '#core/diff/diff.ts'

/** After how long it is looked whether to stop, in ms, when nothing comes. */
const lookMs = 200

/**
 * The pieces of a blob that is still coming, as they are there. Two buffers take turns, as in
 * `readFilePieces`.
 *
 * @throws {SystemError}; an Error when no more will come; what `check` throws.
 */
export async function* readComingPieces(
  { path, size, there }: ComingBlob,
  check: () => void,
  pieceSize = 256 * 1024,
): AsyncGenerator<Uint8Array> {
  const buffers = [Buffer.allocUnsafeSlow(pieceSize), Buffer.allocUnsafeSlow(pieceSize)]
  const fd = openSync(path, 'r')
  try {
    let turn = 0
    for (let at = 0; at < size; turn = 1 - turn) {
      const end = await moreThan(at, there, check)
      const piece = buffers[turn] ?? Buffer.alloc(pieceSize)
      const length = readSync(fd, piece, 0, Math.min(pieceSize, end - at), at)
      if (length === 0) throw new Error('the file of a blob that comes is shorter than was said')
      yield piece.subarray(0, length)
      at += length
    }
  } finally {
    closeSync(fd)
  }
}

/** Waits until more than `at` bytes are there. @returns how many. */
async function moreThan(at: number, there: BigInt64Array, check: () => void): Promise<number> {
  for (;;) {
    const seen = Atomics.load(there, 0)
    if (seen < 0n) throw new Error('the rest of the blob does not come')
    if (Number(seen) > at) return Number(seen)
    check()
    await Atomics.waitAsync(there, 0, seen, lookMs).value
  }
}
