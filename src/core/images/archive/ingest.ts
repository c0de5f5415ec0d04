import { posix } from 'node:path'

import type { Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import { digestFault } from '#lib/digest/digest.ts'
import { resourceExhausted } from '#lib/errors/errors.ts'
import type { Entry } from '#lib/tar/entry.ts'
import { TarParser } from '#lib/tar/parser.ts'

import { blobsDir, dockerFile, indexFile, layoutFile } from './layout.ts'
import { type IngestedBlob, Upload } from './upload.ts'

/** More than any real manifest has, in bytes. Source: upstream `importer.go`, `jsonLimit`. */
const maxJsonBytes = 20 << 20
/** Files that say how to read the archive. */
const documentNames: readonly string[] = [layoutFile, indexFile, dockerFile]
/** How many files are committed while the next ones come: each waits for the disk. */
const commitsAtOnce = 8

/** What was in an archive. Paths are cleaned, and those of links are resolved once. */
export interface Ingested {
  readonly blobs: ReadonlyMap<string, IngestedBlob>
  readonly links: ReadonlyMap<string, string>
  readonly documents: ReadonlyMap<string, Uint8Array>
}

/**
 * Writes every file of an archive to the content store, except those that describe it.
 *
 * @throws a `TarError`; `resource_exhausted` for a description that is too large; `invalid_argument` for a
 * blob that is not what its name says; what the store says.
 */
export async function ingest(
  ctx: Context,
  content: Pick<Store, 'abort' | 'writer'>,
  source: AsyncIterable<Uint8Array>,
): Promise<Ingested> {
  await using collector = new Collector(ctx, content)
  const steps: Step[] = []
  const parser = new TarParser({
    entry: (entry) => void steps.push(async () => await collector.begin(entry)),
    data: (bytes) => void steps.push(async () => await collector.take(bytes)),
    end: () => void steps.push(async () => await collector.end()),
  })
  const run = async (): Promise<void> => {
    for (const step of steps) await step()
    steps.length = 0
  }
  for await (const chunk of source) {
    ctx.signal.throwIfAborted()
    parser.push(chunk)
    await run()
  }
  parser.finish()
  await run()
  return await collector.result()
}

type Step = () => Promise<void>

/** Sorts what comes out of an archive. */
class Collector implements AsyncDisposable {
  readonly #ctx: Context
  readonly #content: Pick<Store, 'abort' | 'writer'>
  /** By path; the last of a name counts. */
  readonly #blobs = new Map<string, Promise<IngestedBlob>>()
  readonly #links = new Map<string, string>()
  readonly #documents = new Map<string, Buffer>()
  /** Those that are not known to have ended, the oldest first. */
  readonly #commits: Promise<IngestedBlob>[] = []
  #path = ''
  #document: Uint8Array[] | undefined
  #upload: Upload | undefined

  constructor(ctx: Context, content: Pick<Store, 'abort' | 'writer'>) {
    this.#ctx = ctx
    this.#content = content
  }

  async begin({ type, name, linkName, size }: Entry): Promise<void> {
    const path = posix.normalize(name)
    this.#path = path
    if (type === 'symlink') this.#links.set(path, posix.join(posix.dirname(path), linkName))
    if (type !== 'file') return
    if (documentNames.includes(path)) {
      if (size > maxJsonBytes) throw resourceExhausted(`${path} has ${size} bytes`)
      this.#document = []
    } else {
      const file = { path, size, expected: digestInPath(path) }
      this.#upload = await Upload.open(this.#ctx, this.#content, file)
    }
  }

  async take(bytes: Uint8Array): Promise<void> {
    this.#document?.push(new Uint8Array(bytes))
    await this.#upload?.write(bytes)
  }

  async end(): Promise<void> {
    if (this.#document) this.#documents.set(this.#path, Buffer.concat(this.#document))
    this.#document = undefined
    const upload = this.#upload
    if (!upload) return
    await upload.finish()
    this.#upload = undefined
    const commit = upload.commit()
    commit.catch(() => undefined)
    this.#blobs.set(this.#path, commit)
    this.#commits.push(commit)
    if (this.#commits.length > commitsAtOnce) await this.#commits.shift()
  }

  async result(): Promise<Ingested> {
    await Promise.all(this.#commits)
    const blobs = new Map<string, IngestedBlob>()
    for (const [path, blob] of this.#blobs) blobs.set(path, await blob)
    return { blobs, links: this.#links, documents: this.#documents }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#commits)
    await this.#upload?.[Symbol.asyncDispose]()
  }
}

/** The digest that `blobs/<algorithm>/<hex>` stands for; empty for other paths. */
function digestInPath(path: string): string {
  const [folder, algorithm, hex, ...more] = path.split('/')
  if (folder !== blobsDir || more.length > 0) return ''
  const digest = `${algorithm}:${hex}`
  return digestFault(digest) === undefined ? digest : ''
}
