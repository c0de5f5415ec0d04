import type { Store, Writer } from '#core/content/content.ts'
import { openWriter } from '#core/content/write-blob.ts'
import { type Context, forCleanup } from '#core/context.ts'
import { hasCode, invalidArgument } from '#lib/errors/errors.ts'

/** A blob that the content store has now. */
export interface IngestedBlob {
  readonly digest: string
  readonly size: number
}

/** One file of an archive. */
export interface ArchiveFile {
  readonly path: string
  readonly size: number
  /** Digest that its name says it has; empty for none. */
  readonly expected: string
}

/** Bytes of one write. */
const pieceBytes = 1 << 20

/**
 * A file of an archive on its way to the content store; what is there already is not written. One piece is
 * written while the next comes together.
 */
export class Upload implements AsyncDisposable {
  readonly #content: Pick<Store, 'abort'>
  readonly #ctx: Context
  readonly #file: ArchiveFile
  readonly #ref: string
  readonly #writer: Writer | undefined
  /** Whether its bytes are still to be written. */
  readonly #isWanted: boolean
  #piece: Buffer
  #spare: Buffer | undefined
  #filled = 0
  #writing: Promise<void> = Promise.resolve()

  private constructor(
    ctx: Context,
    content: Pick<Store, 'abort'>,
    file: ArchiveFile,
    ref: string,
    writer: Writer | undefined,
  ) {
    this.#ctx = ctx
    this.#content = content
    this.#file = file
    this.#ref = ref
    this.#writer = writer
    this.#isWanted = writer !== undefined && !isWhole(writer, file)
    this.#piece = Buffer.allocUnsafeSlow(Math.min(file.size, pieceBytes))
  }

  static async open(
    ctx: Context,
    content: Pick<Store, 'abort' | 'writer'>,
    file: ArchiveFile,
  ): Promise<Upload> {
    const ref = `tar-${file.path}`
    const { expected, size: total } = file
    await using undo = new AsyncDisposableStack()
    try {
      const writer = undo.use(await openWriter(ctx, content, { ref, total, expected }))
      if (writer.status().offset > 0 && !isWhole(writer, file)) await writer.truncate(ctx, 0)
      undo.move()
      return new Upload(ctx, content, file, ref, writer)
    } catch (err) {
      if (!hasCode(err, 'already_exists')) throw err
      return new Upload(ctx, content, file, ref, undefined)
    }
  }

  /** Takes bytes, which are copied. */
  async write(bytes: Uint8Array): Promise<void> {
    if (!this.#isWanted) return
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + this.#piece.length - this.#filled)
      this.#piece.set(part, this.#filled)
      this.#filled += part.length
      at += part.length
      if (this.#filled === this.#piece.length) await this.#flush()
    }
  }

  /** Ends the file: nothing more is written. `commit` can then be left to itself. */
  async finish(): Promise<void> {
    await this.#flush()
    await this.#writing
  }

  /** @throws `invalid_argument` when it is not what its name says. */
  async commit(): Promise<IngestedBlob> {
    const { path, size, expected } = this.#file
    const writer = this.#writer
    if (!writer) return { digest: expected, size }
    await using _closed = writer
    const digest = expected || writer.digest()
    try {
      await writer.commit(this.#ctx, { size, expected: digest })
    } catch (err) {
      if (hasCode(err, 'already_exists')) return { digest, size }
      await this.#abort()
      if (!hasCode(err, 'failed_precondition')) throw err
      throw invalidArgument(`${path} is not what its name says`, { cause: err })
    }
    return { digest, size }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing.catch(() => undefined)
    await this.#writer?.[Symbol.asyncDispose]()
  }

  async #flush(): Promise<void> {
    const full = this.#piece.subarray(0, this.#filled)
    if (full.length === 0) return
    await this.#writing
    const next = this.#spare ?? Buffer.allocUnsafeSlow(this.#piece.length)
    this.#spare = this.#piece
    this.#piece = next
    this.#filled = 0
    this.#writing = this.#writer?.write(this.#ctx, full) ?? Promise.resolve()
    // Told when the next piece is there, or at the end.
    this.#writing.catch(() => undefined)
  }

  /** Bytes that are not what they should be must not be taken up by the next try. */
  async #abort(): Promise<void> {
    try {
      await this.#content.abort(forCleanup(this.#ctx), this.#ref)
    } catch (err) {
      this.#ctx.log.debug('cannot abort an upload', { ref: this.#ref, error: String(err) })
    }
  }
}

/** Another namespace has it, or an earlier try brought all of it. */
const isWhole = (writer: Writer, { expected, size }: ArchiveFile): boolean =>
  expected !== '' && writer.status().offset === size
