import { dataLoss, resourceExhausted } from '#lib/errors/errors.ts'

import type { Answer } from './exchange.ts'

/** The most that is read of a manifest or an index. Source: upstream `MaxManifestSize`. */
export const maxDocumentBytes = 4 * 1048 * 1048

/**
 * The whole body of `answer`, which may not have more than `atMost` bytes: what it announces is
 * looked at before, what comes is counted.
 *
 * @throws `resource_exhausted` when it is larger.
 */
export async function readDocument(answer: Answer, atMost: number, what: string): Promise<Buffer> {
  const announced = Number(answer.headers['content-length'] ?? 0)
  const chunks: Buffer[] = []
  let size = 0
  try {
    if (announced > atMost) throw tooLarge(what, announced, atMost)
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > atMost) throw tooLarge(what, size, atMost)
      chunks.push(chunk)
    }
  } finally {
    answer.body.on('error', () => undefined).destroy()
  }
  return Buffer.concat(chunks)
}

const tooLarge = (what: string, size: number, atMost: number): Error =>
  resourceExhausted(`${what} has ${size} bytes or more, and may have ${atMost}`)

/** The object in a JSON document. @throws `data_loss` when it is none. */
export function parseDocument(bytes: Buffer, what: string): Readonly<Record<string, unknown>> {
  const value = parseJson(bytes)
  if (isObject(value)) return value
  throw dataLoss(`${what} is not a JSON object`)
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown
  } catch {
    return undefined
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
