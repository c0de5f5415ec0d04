import { closeSync, openSync, readSync } from 'node:fs'

/** The pieces of a file, read by this thread as they are asked for. @throws {SystemError} */
export function* readFilePieces(path: string, pieceSize = 256 * 1024): Generator<Uint8Array> {
  const fd = openSync(path, 'r')
  try {
    for (;;) {
      const piece = Buffer.allocUnsafe(pieceSize)
      const length = readSync(fd, piece, 0, pieceSize, null)
      if (length === 0) return
      yield piece.subarray(0, length)
    }
  } finally {
    closeSync(fd)
  }
}
