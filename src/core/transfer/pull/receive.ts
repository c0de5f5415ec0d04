import type { Writer } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'

import type { Download } from './downloads.ts'

/** Appends what an upload lacks. @returns the host that it came from. */
export async function receive(
  ctx: Context,
  writer: Writer,
  { fetcher, target, onProgress }: Pick<Download, 'fetcher' | 'target' | 'onProgress'>,
): Promise<string> {
  const { offset } = writer.status()
  await using body = await fetcher.fetch(ctx, target, { offset })
  let at = offset
  for await (const chunk of body) {
    await writer.write(ctx, chunk)
    at += chunk.length
    onProgress?.(at)
  }
  return body.host
}
