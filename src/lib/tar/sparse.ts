import { TarError } from './entry.ts'
import { blockSize, numberAt } from './header.ts'

/** A run of bytes that the archive has; between the runs are holes. */
export interface SparsePiece {
  readonly offset: number
  readonly length: number
}

/** More than any real file has, and a bound on memory. */
const maxPieces = 1 << 20

const invalid = (): TarError => new TarError('archive/tar: invalid tar header')

/** The pieces in a GNU header (four, at 386) or its extension blocks (21, at 0). */
export function piecesInBlock(
  block: Uint8Array,
  at: number,
  count: number,
): readonly SparsePiece[] {
  const pieces: SparsePiece[] = []
  for (let i = 0; i < count; i++) {
    const start = at + i * 24
    if (block[start] === 0) break
    pieces.push({ offset: numberAt(block, start, 12), length: numberAt(block, start + 12, 12) })
  }
  return pieces
}

/** Format 0.1: `offset,length,offset,length`. @throws {TarError} */
export function piecesInText(text: string): readonly SparsePiece[] {
  if (text === '') return []
  return paired(text.split(',').map(wholeNumber))
}

/**
 * Format 1.0: lines before the content, the count first, filled up to whole blocks.
 *
 * @returns the pieces and how many bytes they took, or `undefined` while lines are missing.
 * @throws {TarError}
 */
export function piecesInContent(
  bytes: Uint8Array,
): { readonly pieces: readonly SparsePiece[]; readonly size: number } | undefined {
  const lines: number[] = []
  let wanted = 1
  let at = 0
  while (lines.length < wanted) {
    const end = bytes.indexOf(0x0a, at)
    if (end < 0) return undefined
    lines.push(wholeNumber(Buffer.from(bytes.subarray(at, end)).toString('latin1')))
    at = end + 1
    if (lines.length === 1) wanted = 1 + 2 * (lines[0] ?? 0)
    if (wanted > 2 * maxPieces) throw invalid()
  }
  const size = Math.ceil(at / blockSize) * blockSize
  return size > bytes.length ? undefined : { pieces: paired(lines.slice(1)), size }
}

function wholeNumber(text: string): number {
  const number = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number)) throw invalid()
  return number
}

function paired(numbers: readonly number[]): readonly SparsePiece[] {
  if (numbers.length % 2 !== 0) throw invalid()
  const pieces: SparsePiece[] = []
  for (let i = 0; i < numbers.length; i += 2) {
    pieces.push({ offset: numbers[i] ?? 0, length: numbers[i + 1] ?? 0 })
  }
  return pieces
}

/** @throws {TarError} unless the pieces are in order, inside the file, and as long as what is stored. */
export function checkPieces(
  pieces: readonly SparsePiece[],
  realSize: number,
  storedSize: number,
): void {
  if (pieces.length > maxPieces) throw invalid()
  let end = 0
  let stored = 0
  for (const { offset, length } of pieces) {
    if (offset < end) throw invalid()
    end = offset + length
    stored += length
  }
  if (end > realSize || stored !== storedSize) throw invalid()
}
