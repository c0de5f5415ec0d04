import { maxEntryBytes } from '#core/logs/json-file.ts'

const newline = 10

/** A line, with its newline, or a part of one. */
export interface Piece {
  readonly text: string
  /** When the line began to come. */
  readonly time: string
}

/** Cuts the bytes of one stream into lines, and long lines into parts of 16 KiB. */
export class LineSplitter {
  /** What has come of a line whose end has not, less than an entry may have. */
  #begun: Buffer = Buffer.alloc(0)
  /** When the line that goes on began; empty between two lines. */
  #time = ''

  /** What is whole with `chunk`, which was read at `time`; the chunk may change afterwards. */
  split(chunk: Buffer, time: string): Piece[] {
    const pieces: Piece[] = []
    let rest = this.#begun.length > 0 ? Buffer.concat([this.#begun, chunk]) : chunk
    for (let size = firstPiece(rest); size > 0; size = firstPiece(rest)) {
      this.#time ||= time
      pieces.push({ text: rest.toString('utf8', 0, size), time: this.#time })
      if (rest[size - 1] === newline) this.#time = ''
      rest = rest.subarray(size)
    }
    if (rest.length > 0) this.#time ||= time
    this.#begun = Buffer.from(rest)
    return pieces
  }

  /** What is left when nothing more comes. */
  end(): Piece[] {
    const begun = this.#begun
    this.#begun = Buffer.alloc(0)
    return begun.length > 0 ? [{ text: begun.toString(), time: this.#time }] : []
  }
}

/** How long the first line is, or what is cut of it; 0 while neither is there. */
function firstPiece(bytes: Buffer): number {
  const end = bytes.indexOf(newline)
  if (end >= 0 && end < maxEntryBytes) return end + 1
  return bytes.length < maxEntryBytes ? 0 : maxEntryBytes - brokenTail(bytes)
}

/** How many bytes before the cut belong to a character that goes on behind it. */
function brokenTail(bytes: Buffer): number {
  for (let back = 1; back <= 3; back += 1) {
    const byte = bytes[maxEntryBytes - back] ?? 0
    if (byte < 0x80) return 0
    if (byte >= 0xc0) return lengthOf(byte) > back ? back : 0
  }
  return 0
}

const lengthOf = (lead: number): number => (lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2)
