import { Readable, type Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'

import type { Reader, Store } from '#core/content/content.ts'
import { readPieces } from '#core/content/read-pieces.ts'
import { openWriter } from '#core/content/write-blob.ts'
import { type Context, forCleanup } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'
import { hasCode } from '#lib/errors/errors.ts'

export interface TransformOptions {
  /** Of the upload. */
  readonly ref: string
  readonly labels: Labels
  /** What its bytes go through, in turn. */
  readonly through: readonly Transform[]
  /** Hears how many bytes of the old one have been read. */
  readonly onRead?: ((bytes: number) => void) | undefined
}

/**
 * Makes a blob of another one. @returns the digest and the size of the new one, which may have been there.
 *
 * @throws `not_found`, and what a transform says of bytes that it cannot read.
 */
export async function transformBlob(
  ctx: Context,
  content: Store,
  from: string,
  { ref, labels, through, onRead }: TransformOptions,
): Promise<{ readonly digest: string; readonly size: number }> {
  await using reader = await content.reader(ctx, from)
  await using writer = await openWriter(ctx, content, { ref })
  // One that a cut-off try left.
  if (writer.status().offset > 0) await writer.truncate(ctx, 0)
  try {
    for await (const piece of piped(ctx, readTold(reader, onRead), through))
      await writer.write(ctx, piece)
    const [digest, size] = [writer.digest(), writer.status().offset]
    await writer.commit(ctx, { size, expected: digest, labels }).catch((err: unknown) => {
      if (!hasCode(err, 'already_exists')) throw err
    })
    return { digest, size }
  } catch (err) {
    await content.abort(forCleanup(ctx), ref).catch((error: unknown) => {
      ctx.log.debug('cannot abort an upload', { ref, error: String(error) })
    })
    throw err
  }
}

async function* readTold(
  reader: Reader,
  onRead: TransformOptions['onRead'],
): AsyncGenerator<Uint8Array, void, undefined> {
  let read = 0
  for await (const piece of readPieces(reader)) {
    read += piece.length
    yield piece
    onRead?.(read)
  }
}

function piped(
  ctx: Context,
  source: AsyncIterable<Uint8Array>,
  through: readonly Transform[],
): AsyncIterable<Uint8Array> {
  let last: Readable = Readable.from(source, { objectMode: false })
  for (const transform of through) {
    // Whoever reads the last hears of what fails anywhere.
    pipeline(last, transform, { signal: ctx.signal }).catch(() => undefined)
    last = transform
  }
  return last
}
