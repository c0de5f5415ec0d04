import { setTimeout as sleep } from 'node:timers/promises'

import type { Context } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'
import { CodedError, hasCode } from '#lib/errors/errors.ts'

import type { Store, Writer, WriterOptions } from './content.ts'

/** What is to be written, as far as it is known beforehand. */
export interface WriteBlobOptions {
  readonly ref: string
  /** Bytes that will come; 0 when not known. */
  readonly size?: number
  readonly digest?: string
  readonly labels?: Labels
}

/**
 * Writes a blob, unless it is already there.
 *
 * @param source gives the bytes from the start; those an earlier try has written are skipped.
 * @throws `failed_precondition` when size or digest differ.
 */
export async function writeBlob(
  ctx: Context,
  store: Pick<Store, 'writer'>,
  source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  options: WriteBlobOptions,
): Promise<void> {
  const { ref, size = 0, digest = '', labels = {} } = options
  try {
    await using writer = await openWriter(ctx, store, { ref, total: size, expected: digest })
    await copy(ctx, writer, source)
    await writer.commit(ctx, { size, expected: digest, labels })
  } catch (err) {
    if (!hasCode(err, 'already_exists')) throw err
  }
}

/** Appends `source`, without what the writer already has. It does not commit. */
export async function copy(
  ctx: Context,
  writer: Writer,
  source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  let skip = writer.status().offset
  for await (const chunk of source) {
    const rest = chunk.subarray(Math.min(skip, chunk.length))
    skip -= chunk.length - rest.length
    if (rest.length > 0) await writer.write(ctx, rest)
  }
  if (skip > 0)
    throw new CodedError('out_of_range', `unable to discard to offset: ${skip} bytes short`)
}

const firstWait = 4
const longestWait = 512

/** Opens a writer, and waits for its turn while another has the ref. @throws as `Store.writer`. */
export async function openWriter(
  ctx: Context,
  store: Pick<Store, 'writer'>,
  options: WriterOptions,
): Promise<Writer> {
  for (let wait = firstWait; ; wait = Math.min(wait * 2, longestWait)) {
    try {
      return await store.writer(ctx, options)
    } catch (err) {
      if (!hasCode(err, 'unavailable')) throw err
      // The error that says who has it, and since when, tells more than that the wait was cut off.
      await sleep(wait * Math.random(), undefined, ctx).catch((reason: unknown) => {
        throw ctx.signal.aborted ? err : reason
      })
    }
  }
}
