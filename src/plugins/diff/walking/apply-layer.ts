import { createHash } from 'node:crypto'

import { TarParser } from '#lib/tar/parser.ts'

import { decompress, type Pieces } from './decompress.ts'
import { Extractor, type ExtractTarget } from './extractor.ts'
import { Budget, type LayerLimits, noLimits } from './limits.ts'
import { SyncAhead } from './sync-ahead.ts'

export interface ApplyLayerOptions {
  /** Whether the blob may be compressed. */
  readonly compressed: boolean
  /** How much it may become; anything unless given. */
  readonly limits?: LayerLimits | undefined
  /** How much may follow the end of the archive, in bytes, which is read for its digest alone. */
  readonly maxTrailing?: number
  /** Called when everything is there, before it is made durable. */
  readonly onUnpacked?: () => void
  /** Called often; throws to stop. */
  readonly check: () => void
}

/** What a layer is when it is not compressed. */
export interface LayerResult {
  readonly digest: string
  readonly size: number
}

/**
 * Unpacks a layer into `target` in one pass, and makes it durable: when this returns, a power cut
 * takes nothing of it. It blocks its thread.
 *
 * @throws {SystemError}, {TarError}, zlib's errors, what `check` throws; `resource_exhausted` for more
 * than the limits.
 */
export async function applyLayer(
  blob: Pieces,
  target: ExtractTarget,
  options: ApplyLayerOptions,
): Promise<LayerResult> {
  const hash = createHash('sha256')
  let size = 0
  let trailing = 0
  const { maxTrailing = Infinity, limits = noLimits } = options
  const budget = new Budget(limits)
  await using disk = new SyncAhead(target.path)
  using extractor = new Extractor(target)
  const parser = new TarParser(budget.counting(extractor))
  await decompress(blob, {
    detect: options.compressed,
    onSource(piece) {
      options.check()
      budget.take(piece.length)
    },
    onData(piece) {
      options.check()
      budget.make(piece.length)
      size += piece.length
      hash.update(piece)
      if (parser.ended) trailing += piece.length
      if (trailing > maxTrailing) throw new Error(`goes on for ever after the end of the archive`)
      parser.push(piece)
      disk.grown(extractor.unwritten)
    },
  })
  parser.finish()
  extractor.finish()
  options.onUnpacked?.()
  await disk.sync()
  return { digest: `sha256:${hash.digest('hex')}`, size }
}
