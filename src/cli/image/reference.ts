import type { Client } from '#client/client.ts'
import type { Image } from '#client/image.ts'
import { normalizeReference } from '#core/images/docker-reference.ts'
import { hasCode, notFound } from '#lib/errors/errors.ts'

/**
 * The whole name of an image that may be given as Docker has it: `alpine` is
 * `docker.io/library/alpine:latest`.
 */
export const completeReference = (text: string): string => normalizeReference(text)

/** The image that is called `text`, or that Docker would call so. @throws `not_found`. */
export async function findImage(client: Client, text: string, signal: AbortSignal): Promise<Image> {
  for (const name of [text, completeReference(text)]) {
    try {
      return await client.images.get(name, { signal })
    } catch (err) {
      if (!hasCode(err, 'not_found')) throw err
    }
  }
  const where = `in namespace ${client.namespace}`
  throw notFound(
    `image ${JSON.stringify(text)} ${where} ("wharf image ls" lists those that are there)`,
  )
}
