import { posix } from 'node:path'

import type { Writer } from '#core/content/content.ts'
import { openWriter } from '#core/content/write-blob.ts'
import type { Context } from '#core/context.ts'
import { digestFault, newHasher } from '#lib/digest/digest.ts'
import { hasCode, invalidArgument, resourceExhausted } from '#lib/errors/errors.ts'
import type { Entry } from '#lib/tar/entry.ts'
import type { RemoteContentStore } from '#proxy/content.ts'

import { readArchive } from './archive.ts'

/** More than any real manifest has, in bytes. Source: upstream `importer.go`, `jsonLimit`. */
const maxJsonBytes = 20 << 20
/** Files that say how to read the archive. */
const documentNames: readonly string[] = ['oci-layout', 'index.json', 'manifest.json']

/** A blob that the archive held and the content store now has. */
export interface IngestedBlob {
  readonly digest: string
  readonly size: number
  /** Its first bytes, to tell how it is compressed. */
  readonly head: Uint8Array
}

/** What was in an archive. Paths are cleaned, and those of links are resolved once. */
export interface Ingested {
  readonly blobs: ReadonlyMap<string, IngestedBlob>
  readonly links: ReadonlyMap<string, string>
  readonly documents: ReadonlyMap<string, Uint8Array>
}

/**
 * Writes every file of an archive to the content store, except those that describe it.
 *
 * @throws a `TarError`; `resource_exhausted` for a description that is too large; what the store says.
 */
export async function ingest(
  ctx: Context,
  content: RemoteContentStore,
  source: AsyncIterable<Uint8Array>,
): Promise<Ingested> {
  const blobs = new Map<string, IngestedBlob>()
  const links = new Map<string, string>()
  const documents = new Map<string, Uint8Array>()
  let file: Receiver | undefined
  await using scope = new AsyncDisposableStack()
  scope.defer(async () => await file?.[Symbol.asyncDispose]())

  for await (const event of readArchive(source)) {
    ctx.signal.throwIfAborted()
    if (event.type === 'entry') {
      const path = posix.normalize(event.entry.name)
      if (event.entry.type === 'symlink') links.set(path, linkTarget(path, event.entry))
      file = await receiver(ctx, content, path, event.entry)
    } else if (event.type === 'data') {
      await file?.write(event.bytes)
    } else if (file) {
      const got = await file.finish()
      if (got instanceof Uint8Array) documents.set(file.path, got)
      else blobs.set(file.path, got)
      file = undefined
    }
  }
  return { blobs, links, documents }
}

const linkTarget = (path: string, { linkName }: Entry): string =>
  posix.join(posix.dirname(path), linkName)

/** Takes the bytes of one file. */
interface Receiver extends AsyncDisposable {
  readonly path: string
  write(bytes: Uint8Array): Promise<void>
  finish(): Promise<IngestedBlob | Uint8Array>
}

async function receiver(
  ctx: Context,
  content: RemoteContentStore,
  path: string,
  entry: Entry,
): Promise<Receiver | undefined> {
  if (entry.type !== 'file') return undefined
  if (documentNames.includes(path)) return new Document(path, entry.size)
  return await Upload.open(ctx, content, path, entry.size)
}

class Document implements Receiver {
  readonly path: string
  readonly #pieces: Uint8Array[] = []

  constructor(path: string, size: number) {
    if (size > maxJsonBytes) throw resourceExhausted(`${path} has ${size} bytes`)
    this.path = path
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#pieces.push(bytes)
    await Promise.resolve()
  }

  async finish(): Promise<Uint8Array> {
    await Promise.resolve()
    return Buffer.concat(this.#pieces)
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** A file on its way to the content store; one that is there already is only hashed. */
class Upload implements Receiver {
  readonly path: string
  readonly #ctx: Context
  readonly #size: number
  readonly #writer: Writer | undefined
  readonly #expected: string
  readonly #hasher = newHasher()
  #head = new Uint8Array()

  private constructor(
    ctx: Context,
    file: { readonly path: string; readonly size: number; readonly expected: string },
    writer: Writer | undefined,
  ) {
    this.#ctx = ctx
    this.path = file.path
    this.#size = file.size
    this.#expected = file.expected
    this.#writer = writer
  }

  static async open(
    ctx: Context,
    content: RemoteContentStore,
    path: string,
    size: number,
  ): Promise<Upload> {
    const file = { path, size, expected: digestInPath(path) }
    const options = { ref: `tar-${path}`, total: size, expected: file.expected }
    try {
      const writer = await openWriter(ctx, content, options)
      if (writer.status().offset > 0) await writer.truncate(ctx, 0)
      return new Upload(ctx, file, writer)
    } catch (err) {
      if (!hasCode(err, 'already_exists')) throw err
      return new Upload(ctx, file, undefined)
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#head.length === 0) this.#head = bytes.slice(0, 8)
    this.#hasher.update(bytes)
    await this.#writer?.write(this.#ctx, bytes)
  }

  async finish(): Promise<IngestedBlob> {
    const size = this.#size
    const actual = this.#hasher.digest()
    const digest = this.#expected || actual
    if (digest.startsWith('sha256:') && digest !== actual) {
      throw invalidArgument(`${this.path} has digest ${actual}`)
    }
    try {
      await this.#writer?.commit(this.#ctx, { size, expected: digest })
    } catch (err) {
      if (!hasCode(err, 'already_exists')) throw err
    }
    return { digest, size, head: this.#head }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer?.[Symbol.asyncDispose]()
  }
}

/** The digest that `blobs/<algorithm>/<hex>` stands for; empty for other paths. */
function digestInPath(path: string): string {
  const [folder, algorithm, hex, ...more] = path.split('/')
  if (folder !== 'blobs' || more.length > 0) return ''
  const digest = `${algorithm}:${hex}`
  return digestFault(digest) === undefined ? digest : ''
}
