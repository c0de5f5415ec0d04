import type { Writer } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'

import type { Download } from './downloads.ts'

/** How many bytes may have come that are not written yet. */
const mostAhead = 4 << 20

/** Appends what an upload lacks. Writing goes on while more comes. @returns the host that it came from. */
export async function receive(
  ctx: Context,
  writer: Writer,
  { fetcher, target, onProgress }: Pick<Download, 'fetcher' | 'target' | 'onProgress'>,
): Promise<string> {
  let { offset } = writer.status()
  await using body = await fetcher.fetch(ctx, target, { offset })
  const writes = new Writes(ctx, writer)
  try {
    for await (const chunk of body) {
      await writes.add(chunk)
      offset += chunk.length
      onProgress?.(offset)
    }
    await writes.done()
    return body.host
  } finally {
    await writes.settled()
  }
}

/** Writes under way, in order, with a bound. */
class Writes {
  readonly #ctx: Context
  readonly #writer: Writer
  readonly #queue: { readonly size: number; readonly written: Promise<void> }[] = []
  #ahead = 0

  constructor(ctx: Context, writer: Writer) {
    this.#ctx = ctx
    this.#writer = writer
  }

  /** Begins a write, and waits while too much is under way. @throws what an earlier one failed with. */
  async add(chunk: Uint8Array): Promise<void> {
    const written = this.#writer.write(this.#ctx, chunk)
    // Whoever waits for it hears of it.
    written.catch(() => undefined)
    this.#queue.push({ size: chunk.length, written })
    this.#ahead += chunk.length
    while (this.#ahead > mostAhead) await this.#first()
  }

  async done(): Promise<void> {
    while (this.#queue.length > 0) await this.#first()
  }

  /** Nothing is written any more, whatever became of it. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#queue.map(async ({ written }) => await written))
  }

  async #first(): Promise<void> {
    const [first] = this.#queue
    if (!first) return
    await first.written
    this.#queue.shift()
    this.#ahead -= first.size
  }
}
