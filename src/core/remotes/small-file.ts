import { open } from 'node:fs/promises'

import { resourceExhausted } from '#lib/errors/errors.ts'

const atMost = 1024 * 1024

/**
 * The text of a file that people write: a config, a certificate.
 *
 * @throws system errors as they are; `resource_exhausted` for more than 1 MB.
 */
export async function readSmallFile(path: string, signal: AbortSignal): Promise<string> {
  await using file = await open(path, 'r')
  signal.throwIfAborted()
  const { buffer, bytesRead } = await file.read(Buffer.alloc(atMost + 1), 0, atMost + 1, 0)
  if (bytesRead <= atMost) return buffer.toString('utf8', 0, bytesRead)
  throw resourceExhausted(`file "${path}" is larger than ${atMost} bytes`)
}
