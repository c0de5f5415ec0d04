import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Fetcher } from '#core/remotes/remotes.ts'

/** How a blob is received in parts. */
export interface Parts {
  /** Bytes of each part, which are held until those before them have come. */
  readonly bytes: number
  /** How many are asked for at once. */
  readonly atOnce: number
}

/**
 * The bytes of `target` from `offset` on, received in parts over several connections and given in order:
 *
 *     ├─ given ─┼─ being received ─┼─ being received ─┼─ being received ─┼─ not asked for ─ ─ ─
 *
 * A host that does not give parts is asked for all the rest at once.
 *
 * @throws as `Fetcher.fetch`.
 */
export async function* inParts(
  ctx: Context,
  fetcher: Pick<Fetcher, 'fetch'>,
  target: Descriptor,
  offset: number,
  { bytes, atOnce }: Parts,
): AsyncGenerator<Uint8Array, void> {
  if (!(await givesParts(ctx, fetcher, target, offset))) {
    await using rest = await fetcher.fetch(ctx, target, { offset })
    yield* rest
    return
  }
  const stop = new AbortController()
  const own = { ...ctx, signal: AbortSignal.any([ctx.signal, stop.signal]) }
  const coming: Promise<readonly Uint8Array[]>[] = []
  let next = offset
  const ask = (): void => {
    const length = Math.min(bytes, target.size - next)
    if (length <= 0) return
    const part = receivePart(own, fetcher, target, next, length)
    // It is waited for in its turn.
    part.catch(() => undefined)
    coming.push(part)
    next += length
  }
  try {
    for (let i = 0; i < atOnce; i++) ask()
    for (let part = coming.shift(); part; part = coming.shift()) {
      const chunks = await part
      ask()
      yield* chunks
    }
  } finally {
    stop.abort()
    await Promise.allSettled(coming)
  }
}

async function givesParts(
  ctx: Context,
  fetcher: Pick<Fetcher, 'fetch'>,
  target: Descriptor,
  offset: number,
): Promise<boolean> {
  await using first = await fetcher.fetch(ctx, target, { offset, length: 1 })
  return first.isPart
}

async function receivePart(
  ctx: Context,
  fetcher: Pick<Fetcher, 'fetch'>,
  target: Descriptor,
  offset: number,
  length: number,
): Promise<readonly Uint8Array[]> {
  await using body = await fetcher.fetch(ctx, target, { offset, length })
  return await Array.fromAsync(body)
}
