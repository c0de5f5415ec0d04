import type { Writer } from '#core/content/content.ts'
import { WriteAhead } from '#core/content/write-ahead.ts'
import type { Context } from '#core/context.ts'
import { giveBack } from '#lib/bytes/give-back.ts'

import { Arrival } from './arrival.ts'
import type { Download } from './downloads.ts'
import { inParts, type Parts } from './parts.ts'

/** How many bytes may have come that are not written yet. */
const mostAhead = 4 << 20

/** As much of a writer as it takes. */
type Upload = Pick<Writer, 'path' | 'status' | 'write'>

/** When a blob is received in parts, over several connections. */
export interface Splitting extends Parts {
  /** Look for so long how fast one connection is, in ms; 0 to begin with parts. */
  readonly patienceMs: number
  /** One that brings fewer bytes in a second is helped by others. */
  readonly slow: number
}

/**
 * Parts are asked for only when a connection is slow: on a fast one the hash and the disk are what takes
 * time. They are small enough to be held, and few enough that a registry does not mind.
 */
export const defaultSplitting: Splitting = {
  bytes: 4 << 20,
  atOnce: 4,
  patienceMs: 1000,
  slow: 16 << 20,
}

/** Appends what an upload lacks. Writing goes on while more comes. @returns the host that it came from. */
export async function receive(
  ctx: Context,
  writer: Upload,
  {
    fetcher,
    target,
    onProgress,
    onComing,
  }: Pick<Download, 'fetcher' | 'target' | 'onProgress' | 'onComing'>,
  splitting: Splitting,
): Promise<string> {
  let { offset } = writer.status()
  const arrival = Arrival.of(writer, target.size, onComing)
  let inFile = offset
  const writes = new WriteAhead(mostAhead, (chunk) => {
    inFile += chunk.length
    giveBack(chunk)
    arrival?.grown(inFile)
  })
  const append = async (chunk: Uint8Array): Promise<void> => {
    await writes.add(chunk, writer.write(ctx, chunk))
    offset += chunk.length
    onProgress?.(offset)
  }
  try {
    await using body = await fetcher.fetch(ctx, target, { offset })
    const began = performance.now()
    const first = offset
    for await (const chunk of body) {
      await append(chunk)
      const ms = performance.now() - began
      const isWorthIt = target.size - offset >= splitting.bytes * splitting.atOnce
      if (isWorthIt && ms >= splitting.patienceMs && isSlow(offset - first, ms, splitting)) break
    }
    if (offset < target.size) {
      await body[Symbol.asyncDispose]()
      for await (const chunk of inParts(ctx, fetcher, target, offset, splitting)) {
        await append(chunk)
      }
    }
    await writes.done()
    return body.host
  } catch (err) {
    arrival?.failed()
    throw err
  } finally {
    await writes.settled()
  }
}

const isSlow = (bytes: number, ms: number, { patienceMs, slow }: Splitting): boolean =>
  patienceMs === 0 || bytes < (slow * ms) / 1000
