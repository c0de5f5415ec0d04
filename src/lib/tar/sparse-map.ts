import { TarError } from './entry.ts'
import { blockSize, type RawHeader, sizeAt } from './header.ts'
import type { Input, Step } from './input.ts'
import { type PaxRecords, paxNumber, paxText } from './pax.ts'
import { piecesInBlock, piecesInContent, piecesInText, type SparsePiece } from './sparse.ts'

/** The most that the map of one sparse file may take in the archive. */
const maxMap = 16 << 20

/** Which pieces of a sparse file follow. */
export interface SparseMap {
  readonly pieces: readonly SparsePiece[]
  /** Of the file with its holes. */
  readonly realSize: number
  /** Bytes of the stored content that were the map. */
  readonly taken: number
}

interface SparseHeaders {
  readonly header: RawHeader
  readonly block: Uint8Array
  readonly pax: PaxRecords
}

/**
 * Reads the map of a sparse file, `undefined` when the file is none. There are four forms: GNU's own
 * header, and pax records of version 0.0, 0.1 and 1.0. Source: GNU tar manual, "Storing Sparse Files".
 */
export function* readSparseMap(
  input: Input,
  headers: SparseHeaders,
  stored: number,
): Step<SparseMap | undefined> {
  const { header, block, pax } = headers
  if (header.flag === 'S') return yield* readOldMap(input, block)
  const version = versionOf(pax)
  if (version === '1.0') return yield* readMapInContent(input, pax, stored)
  const realSize = paxValue(pax, 'GNU.sparse.size') ?? paxValue(pax, 'GNU.sparse.realsize')
  const map = pax.values.get('GNU.sparse.map')
  if (realSize === undefined || (!map && pax.pieces.length === 0)) return undefined
  const pieces = map ? piecesInText(paxText(map)) : pax.pieces
  return { pieces, realSize, taken: 0 }
}

function versionOf({ values }: PaxRecords): string {
  const [major, minor] = [values.get('GNU.sparse.major'), values.get('GNU.sparse.minor')]
  return major && minor ? `${paxText(major)}.${paxText(minor)}` : ''
}

function paxValue({ values }: PaxRecords, key: string): number | undefined {
  const value = values.get(key)
  return value && paxNumber(value)
}

/** The header has four pieces; as long as its flag is set, a block of 21 more follows. */
function* readOldMap(input: Input, block: Uint8Array): Step<SparseMap> {
  const pieces = [...piecesInBlock(block, 386, 4)]
  let more = block[482] !== 0
  for (let size = 0; more; size += blockSize) {
    if (size > maxMap) throw new TarError('archive/tar: invalid tar header')
    const extension = yield* input.all(blockSize)
    pieces.push(...piecesInBlock(extension, 0, 21))
    more = extension[504] !== 0
  }
  return { pieces, realSize: sizeAt(block, 483), taken: 0 }
}

function* readMapInContent(input: Input, pax: PaxRecords, stored: number): Step<SparseMap> {
  const realSize = paxValue(pax, 'GNU.sparse.realsize')
  if (realSize === undefined) throw new TarError('archive/tar: invalid tar header')
  let bytes = new Uint8Array()
  for (;;) {
    if (bytes.length >= Math.min(stored, maxMap)) {
      throw new TarError('archive/tar: invalid tar header')
    }
    bytes = Buffer.concat([bytes, yield* input.all(blockSize)])
    const map = piecesInContent(bytes)
    if (map) return { pieces: map.pieces, realSize, taken: map.size }
  }
}
