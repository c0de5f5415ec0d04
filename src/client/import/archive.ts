import type { Entry } from '#lib/tar/entry.ts'
import { TarParser } from '#lib/tar/parser.ts'

/** What comes out of an archive, in order: an entry, its bytes, its end. */
export type ArchiveEvent =
  | { readonly type: 'entry'; readonly entry: Entry }
  | { readonly type: 'data'; readonly bytes: Uint8Array }
  | { readonly type: 'end' }

/**
 * Reads a tar archive as it arrives, holding no more than one chunk of it.
 *
 * @throws a `TarError` for what is none.
 */
export async function* readArchive(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<ArchiveEvent, void, undefined> {
  let events: ArchiveEvent[] = []
  const parser = new TarParser({
    entry: (entry) => void events.push({ type: 'entry', entry }),
    // The chunk is ours and is not used again, so its pieces outlive the call.
    data: (bytes) => void events.push({ type: 'data', bytes }),
    end: () => void events.push({ type: 'end' }),
  })
  for await (const chunk of source) {
    parser.push(chunk)
    const ready = events
    events = []
    yield* ready
  }
  parser.finish()
  yield* events
}
