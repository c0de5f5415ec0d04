import { closeSync } from 'node:fs'

import { toBytes } from '#lib/bytes/byte-string.ts'
import type { Entry, Sink } from '#lib/tar/entry.ts'
import { TarParser } from '#lib/tar/parser.ts'
import { decompress } from '#plugins/diff/walking/decompress.ts'
import { readFilePieces } from '#plugins/diff/walking/read-file.ts'
import { openRoot } from '#sys/resolve.ts'

import { compareTree } from './compare-tree.ts'
import { ContentCheck } from './content-check.ts'
import { ExpectedTree, type WhiteoutStyle } from './expected-tree.ts'

/** A layer as it is stored. */
export interface LayerBlob {
  readonly path: string
  /** Whether it may be compressed; its first bytes say how. */
  readonly compressed: boolean
}

export interface LayerCheck {
  /** From the bottom up: one for a directory beside its lower layers, all for one that holds them. */
  readonly blobs: readonly LayerBlob[]
  readonly directory: string
  readonly whiteouts: WhiteoutStyle
  /** How many differences are told in words. */
  readonly told: number
  /** Called with the bytes of a blob that were read; throws to stop. */
  readonly onRead: (bytes: number) => void
}

export interface LayerVerdict {
  readonly files: number
  /** How many files differ. */
  readonly different: number
  /** The first of them, `path: what`. */
  readonly differences: readonly string[]
}

/**
 * Compares a directory with the layers that were unpacked into it. Each blob is read once, and so is
 * each file. It blocks its thread.
 *
 * @throws {SystemError}, {TarError}, zlib's errors, what `onRead` throws.
 */
export async function checkLayer(check: LayerCheck): Promise<LayerVerdict> {
  const tree = new ExpectedTree(check.whiteouts)
  for (const blob of check.blobs) await readLayer(check, blob, tree)
  const differences: string[] = []
  let different = 0
  const files = compareTree(check.directory, tree.root, (path, what) => {
    different++
    if (differences.length < check.told) differences.push(`${printable(path)}: ${what}`)
  })
  return { files, different, differences }
}

async function readLayer(check: LayerCheck, blob: LayerBlob, tree: ExpectedTree): Promise<void> {
  using reader = new LayerReader(check.directory, tree)
  const parser = new TarParser(reader)
  await decompress(counted(readFilePieces(blob.path), check.onRead), {
    detect: blob.compressed,
    onData: (piece) => parser.push(piece),
  })
  parser.finish()
  tree.finish()
}

function* counted(
  pieces: Iterable<Uint8Array>,
  onRead: (bytes: number) => void,
): Generator<Uint8Array> {
  for (const piece of pieces) {
    onRead(piece.length)
    yield piece
  }
}

/** Reads the archive of a layer, and each file on disk beside it. */
class LayerReader implements Sink, Disposable {
  readonly #root: number
  readonly #tree: ExpectedTree
  readonly #buffer = ContentCheck.newBuffer()
  #content: ContentCheck | undefined

  constructor(directory: string, tree: ExpectedTree) {
    this.#root = openRoot(directory)
    this.#tree = tree
  }

  entry(entry: Entry): void {
    const placed = this.#tree.add(entry)
    this.#content = placed && ContentCheck.begin(this.#root, placed, this.#buffer)
  }

  data(bytes: Uint8Array, offset: number): void {
    this.#content?.data(bytes, offset)
  }

  end(): void {
    this.#content?.end()
    this.#content = undefined
  }

  [Symbol.dispose](): void {
    this.#content?.[Symbol.dispose]()
    closeSync(this.#root)
  }
}

/** A name that a terminal can be given; bytes that are no text are shown as such. */
const printable = (path: string): string =>
  path.isWellFormed() && !/\p{Cc}/u.test(path)
    ? path
    : JSON.stringify(Buffer.from(toBytes(path)).toString('latin1'))
