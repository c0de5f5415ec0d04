import type { Mount } from '#core/mount/mount.ts'
import { CodedError, codeOf } from '#lib/errors/errors.ts'
import { saysFull } from '#lib/fs/full-disk.ts'

import type { Layer } from './layer.ts'

/** What was being done, with which layer of which image. */
export const stageOf = ({ blob, image }: Pick<Layer, 'blob' | 'image'>): string =>
  `unpack layer ${blob.digest} of ${image}`

/** What decoders say of bytes that are no layer. Daemons give it over a connection, without its class. */
const isNoLayer =
  /archive\/tar: |unexpected EOF|unexpected end of file|header check|invalid (header|block|distance|stored)|magic number|[Ff]rame/

/**
 * The failure to extract `layer` to `mounts`, none before they are known, with what it was and, if anybody
 * can do something, what.
 */
export function extractionFailure(
  layer: Pick<Layer, 'blob' | 'image'>,
  mounts: readonly Mount[],
  err: unknown,
): Error {
  const why = err instanceof Error ? err.message : String(err)
  const message = `${stageOf(layer)}: ${why}`
  if (saysFull(err)) {
    const where = mounts.length > 0 ? `on the file system of ${directoryOf(mounts)}` : 'there'
    const todo = `make room ${where}, and try again`
    return new CodedError('resource_exhausted', `${message}; ${todo}`, { cause: err })
  }
  const code = codeOf(err) ?? 'unknown'
  if (code !== 'unknown' || !isNoLayer.test(why))
    return new CodedError(code, message, { cause: err })
  const todo =
    'its bytes are those that its digest stands for, so it was made so: have the image built and pushed anew'
  return new CodedError(code, `${message}; ${todo}`, { cause: err })
}

/** Where the files of a layer go: the upper directory of an overlay, or what else is mounted. */
function directoryOf(mounts: readonly Mount[]): string {
  const { source = '', options = [] } = mounts.at(-1) ?? {}
  const upper = options.find((option) => option.startsWith('upperdir='))
  return upper === undefined ? source : upper.slice('upperdir='.length)
}
