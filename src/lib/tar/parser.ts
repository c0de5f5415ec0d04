import { assemble } from './assemble.ts'
import { type Entry, type Sink, TarError } from './entry.ts'
import { blockSize, isZeroBlock, parseHeader, type RawHeader, textAt } from './header.ts'
import { Input, type Step } from './input.ts'
import { noRecords, type PaxRecords, parsePax } from './pax.ts'
import { checkPieces, type SparsePiece } from './sparse.ts'
import { readSparseMap } from './sparse-map.ts'

/** The most that one extended header or long name may have; Go's limit. */
const maxMeta = 1 << 20

/**
 * Reads an archive from chunks of any size, in one thread and without copying content: `push` calls
 * the sink before it returns. What follows the end mark is ignored.
 *
 *     header block ─┬─ x, L, K: content that extends the next header
 *                   ├─ g: content without effect, as in containerd
 *                   ├─ S: more blocks with the map of a sparse file
 *                   └─ content, filled up to whole blocks            … two zero blocks end it
 */
export class TarParser {
  readonly #input = new Input()
  readonly #steps: Step<void>
  #done = false

  constructor(sink: Sink) {
    this.#steps = readArchive(this.#input, sink)
    this.#steps.next()
  }

  /** Takes the next bytes. @throws {TarError}, and what the sink throws. */
  push(chunk: Uint8Array): void {
    if (this.#done) return
    this.#input.feed(chunk)
    this.#done = this.#steps.next().done === true
  }

  /** Whether the end mark has come: what follows means nothing. */
  get ended(): boolean {
    return this.#done
  }

  /** Says that the input is over. @throws {TarError} when that is in the middle of something. */
  finish(): void {
    if (this.#done) return
    this.#input.finish()
    this.#done = this.#steps.next().done === true
  }
}

/** Reads a whole archive from chunks. @throws {TarError}, and what the sink throws. */
export function parseTar(chunks: Iterable<Uint8Array>, sink: Sink): void {
  const parser = new TarParser(sink)
  for (const chunk of chunks) parser.push(chunk)
  parser.finish()
}

function* readArchive(input: Input, sink: Sink): Step<void> {
  for (;;) {
    const next = yield* readHeaders(input)
    if (!next) return
    yield* readFile(input, next, sink)
  }
}

/** A header with all that extends it. */
interface Headers {
  readonly header: RawHeader
  readonly block: Uint8Array
  readonly pax: PaxRecords
  readonly longName: string | undefined
  readonly longLink: string | undefined
}

/** Reads up to the next header of a file; `undefined` at the end. */
function* readHeaders(input: Input): Step<Headers | undefined> {
  let pax = noRecords
  let longName: string | undefined
  let longLink: string | undefined
  for (;;) {
    const view = yield* input.exactly(blockSize)
    if (!view || isZeroBlock(view)) {
      if (pax !== noRecords || longName !== undefined || longLink !== undefined) {
        throw new TarError('unexpected EOF')
      }
      if (view) yield* readEnd(input)
      return undefined
    }
    const header = parseHeader(view)
    // A copy: reading on may give the chunk back.
    const block = new Uint8Array(view)
    if (header.flag === 'x') pax = parsePax(yield* readMeta(input, header))
    else if (header.flag === 'g') yield* readMeta(input, header)
    else if (header.flag === 'L') longName = nameIn(yield* readMeta(input, header))
    else if (header.flag === 'K') longLink = nameIn(yield* readMeta(input, header))
    else return { header, block, pax, longName, longLink }
  }
}

/** One zero block may be the last there is; with another the archive ends; anything else is damage. */
function* readEnd(input: Input): Step<void> {
  const second = yield* input.exactly(blockSize)
  if (second && !isZeroBlock(second)) throw new TarError('archive/tar: invalid tar header')
}

/** The content of a header that is about another. It is kept, so it is copied. */
function* readMeta(input: Input, header: RawHeader): Step<Uint8Array> {
  if (header.size > maxMeta) throw new TarError('archive/tar: header field too long')
  const content = new Uint8Array(yield* input.all(header.size))
  yield* input.skip(padding(header.size))
  return content
}

const nameIn = (content: Uint8Array): string => textAt(content, 0, content.length)

const padding = (size: number): number => (blockSize - (size % blockSize)) % blockSize

function* readFile(input: Input, headers: Headers, sink: Sink): Step<void> {
  const { entry, stored } = assemble(headers.header, headers.block, headers)
  const map = yield* readSparseMap(input, headers, stored)
  if (map) {
    const left = stored - map.taken
    checkPieces(map.pieces, map.realSize, left)
    yield* deliver(input, { ...entry, size: map.realSize }, map.pieces, sink)
  } else if (entry.type === 'file') {
    yield* deliver(input, entry, [{ offset: 0, length: stored }], sink)
  } else {
    sink.entry(entry)
    sink.end()
    yield* input.skip(stored)
  }
  yield* input.skip(padding(stored))
}

function* deliver(
  input: Input,
  entry: Entry,
  pieces: readonly SparsePiece[],
  sink: Sink,
): Step<void> {
  sink.entry(entry)
  for (const { offset, length } of pieces) {
    for (let at = 0; at < length; ) {
      const bytes = yield* input.some(length - at)
      sink.data(bytes, offset + at)
      at += bytes.length
    }
  }
  sink.end()
}
