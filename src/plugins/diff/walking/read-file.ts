import { closeSync, openSync, readSync } from 'node:fs'

/**
 * The pieces of a file, read by this thread as they are asked for. Two buffers take turns: a piece is
 * valid until the next but one is asked for.
 *
 * @throws {SystemError}
 */
export function* readFilePieces(path: string, pieceSize = 256 * 1024): Generator<Uint8Array> {
  const buffers = [Buffer.allocUnsafeSlow(pieceSize), Buffer.allocUnsafeSlow(pieceSize)]
  const fd = openSync(path, 'r')
  try {
    for (let turn = 0; ; turn = 1 - turn) {
      const piece = buffers[turn] ?? Buffer.alloc(pieceSize)
      const length = fill(fd, piece)
      if (length === 0) return
      yield piece.subarray(0, length)
      if (length < pieceSize) return
    }
  } finally {
    closeSync(fd)
  }
}

/** Reads until `buffer` is full or the file ends. */
function fill(fd: number, buffer: Buffer): number {
  let at = 0
  while (at < buffer.length) {
    const length = readSync(fd, buffer, at, buffer.length - at, null)
    if (length === 0) break
    at += length
  }
  return at
}
