import { MessageChannel } from 'node:worker_threads'
import { randomBytes } from 'node:crypto'

import type { Reader, Store, Writer } from '#core/content/content.ts'
import { type Context, forCleanup } from '#core/context.ts'
import {
  aloneAnnotation,
  type Applied,
  type ApplyOptions,
  type CompareOptions,
  type Differ,
  uncompressedLabel,
} from '#core/diff/diff.ts'
import type { StreamProcessor } from '#core/diff/processors.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { LocalMountManager } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import { span } from '#core/trace.ts'
import type { Compression } from '#lib/bytes/compression.ts'
import { codeOf, hasCode, unavailable, unimplemented } from '#lib/errors/errors.ts'

import { ComingFile } from './coming-file.ts'
import type { ApplyJob, JobResult } from './jobs.ts'
import { type LayerLimits, noLimits } from './limits.ts'
import { mayBeCompressed, ociLayer, ociLayerGzip, ociLayerZstd } from './media-type.ts'
import { servePieces, takePieces } from './piece-port.ts'
import { WorkerPool } from './pool.ts'
import { chainOf } from './processor-chain.ts'
import { settle } from './settle.ts'

const compressions: Readonly<Record<string, Compression>> = {
  [ociLayer]: 'none',
  [ociLayerGzip]: 'gzip',
  [ociLayerZstd]: 'zstd',
}

export interface WalkingDifferOptions {
  /** Where file systems are mounted that nothing else needs. It exists. */
  readonly tempDir: string
  /** Makes the mounts that are more than a system call. */
  readonly mounts?: Pick<LocalMountManager, 'hold'>
  /** How many layers are unpacked or made at once. */
  readonly workers: number
  /** What layers may have to go through, asked for each layer; nothing unless given. */
  readonly processing?: () => ProcessingOptions
  /** How much a layer may become; anything unless given. */
  readonly limits?: LayerLimits
}

export interface ProcessingOptions {
  readonly processors?: readonly StreamProcessor[]
  /** How long they may make nothing, in ms; 0 for ever. */
  readonly idleMs?: number
}

/** Unpacks layers from a content store, and makes layers by walking two trees. */
export class WalkingDiffer implements Differ, AsyncDisposable {
  readonly #store: Store
  readonly #pool: WorkerPool
  readonly #mounts: Pick<LocalMountManager, 'hold'> | undefined
  readonly #processing: () => ProcessingOptions
  readonly #limits: LayerLimits

  constructor(store: Store, options: WalkingDifferOptions) {
    this.#store = store
    this.#pool = new WorkerPool(options)
    this.#mounts = options.mounts
    this.#processing = options.processing ?? (() => ({}))
    this.#limits = options.limits ?? noLimits
  }

  async apply(
    ctx: Context,
    layer: Descriptor,
    mounts: readonly Mount[],
    options: ApplyOptions = {},
  ): Promise<Applied> {
    const { processors = [], idleMs = 0 } = this.#processing()
    const { steps, mediaType } = chainOf(layer.mediaType, processors, options.payloads ?? {})
    const compressed = mayBeCompressed(mediaType)
    const processing = steps.length > 0 ? { steps, idleMs } : undefined
    const began = performance.now()
    if (options.coming && processing) {
      throw unavailable('a layer that goes through stream processors must have come')
    }
    await using blob = options.coming
      ? await ComingFile.open(options.coming)
      : await this.#store.reader(ctx, layer.digest)
    await using held = await this.#mounts?.hold(ctx, mounts)
    const system = held?.system ?? mounts
    const alone = layer.annotations?.[aloneAnnotation] !== undefined
    const limits = { ...this.#limits, blobBytes: blob.size }
    const { settles } = options
    const job = { compressed, mounts: system, processing, alone, settles, limits }
    const unpack = async (own: Context): Promise<JobResult> => {
      const { stages = [], ...unpacked } = await this.#unpack(own, blob, job)
      for (const { name, from, to } of stages) {
        own.trace?.begin(name, { startTime: from }).end(undefined, to)
      }
      return unpacked
    }
    const { unsettled, ...result } = await span(ctx, 'unpack', unpack, { digest: layer.digest })
    ctx.log.debug('diff applied', {
      digest: layer.digest,
      size: layer.size,
      media: layer.mediaType,
      d: Math.round(performance.now() - began),
    })
    if (!unsettled) return { mediaType: ociLayer, ...result }
    return {
      mediaType: ociLayer,
      ...result,
      settle: async (own, below) => await settle(own, unsettled, below),
    }
  }

  async compare(
    ctx: Context,
    lower: readonly Mount[],
    upper: readonly Mount[],
    options: CompareOptions = {},
  ): Promise<Descriptor> {
    const mediaType = options.mediaType || ociLayerGzip
    const compression = compressions[mediaType]
    if (!compression) throw unimplemented(`unsupported diff media type: ${mediaType}`)
    const ref = options.ref || uniqueRef()
    try {
      await using writer = await this.#store.writer(ctx, { ref, mediaType })
      if (options.ref) await writer.truncate(ctx, 0)
      await using below = await this.#mounts?.hold(ctx, lower)
      await using above = await this.#mounts?.hold(ctx, upper)
      const made = {
        lower: below?.system ?? lower,
        upper: above?.system ?? upper,
        compression,
        latestTime: nanoseconds(options.sourceDateEpoch),
      }
      const uncompressed = await this.#make(ctx, writer, made)
      const labels: Labels =
        compression === 'none'
          ? (options.labels ?? {})
          : { ...options.labels, [uncompressedLabel]: uncompressed }
      return await this.#commit(ctx, writer, { mediaType, labels })
    } catch (err) {
      if (!options.ref) await this.#abandon(ctx, ref)
      throw err
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool[Symbol.asyncDispose]()
  }

  /** Reads the blob from its file if it has one, and through this thread if not. */
  async #unpack(
    ctx: Context,
    reader: Reader | ComingFile,
    job: Omit<ApplyJob, 'kind' | 'blob' | 'tempDir' | 'cancelled'>,
  ): Promise<JobResult> {
    if (reader instanceof ComingFile) {
      return await this.#pool.run(ctx, { kind: 'apply', blob: reader.blob, ...job })
    }
    if (reader.path !== undefined) {
      return await this.#pool.run(ctx, { kind: 'apply', blob: reader.path, ...job })
    }
    const { port1, port2 } = new MessageChannel()
    let failed: { readonly err: unknown } | undefined
    servePieces(port1, piecesOf(reader), (err) => {
      failed = { err }
    })
    try {
      return await this.#pool.run(ctx, { kind: 'apply', blob: port2, ...job }, [port2])
    } catch (err) {
      throw failed ? failed.err : err
    } finally {
      port1.close()
    }
  }

  /** Has a worker write the layer to `writer`. @returns its digest before compression. */
  async #make(
    ctx: Context,
    writer: Writer,
    job: {
      readonly lower: readonly Mount[]
      readonly upper: readonly Mount[]
      readonly compression: Compression
      readonly latestTime: bigint | undefined
    },
  ): Promise<string> {
    const { port1, port2 } = new MessageChannel()
    let failed: { readonly err: unknown } | undefined
    const stop = new AbortController()
    const signal = AbortSignal.any([ctx.signal, stop.signal])
    const output = takePieces(
      port1,
      (piece) => writer.write(ctx, piece),
      (err) => {
        failed ??= { err }
        stop.abort(err)
      },
    )
    try {
      const result = await this.#pool.run(
        { ...ctx, signal },
        { kind: 'compare', output: port2, ...job },
        [port2],
      )
      await output.settled()
      if (failed) throw failed.err
      return result.digest
    } finally {
      port1.close()
    }
  }

  async #commit(
    ctx: Context,
    writer: Writer,
    { mediaType, labels }: { readonly mediaType: string; readonly labels: Labels },
  ): Promise<Descriptor> {
    const digest = writer.digest()
    try {
      await writer.commit(ctx, { expected: digest, labels })
    } catch (err) {
      if (!hasCode(err, 'already_exists')) throw err
    }
    const info = await this.#store.info(ctx, digest)
    const uncompressed = labels[uncompressedLabel]
    if (uncompressed !== undefined && info.labels[uncompressedLabel] === undefined) {
      const update = { digest, labels: { [uncompressedLabel]: uncompressed } }
      await this.#store.update(ctx, update, [`labels.${uncompressedLabel}`])
    }
    return { mediaType, digest, size: info.size }
  }

  async #abandon(ctx: Context, ref: string): Promise<void> {
    try {
      await this.#store.abort(forCleanup(ctx), ref)
    } catch (err) {
      if (codeOf(err) !== 'not_found') {
        ctx.log.warn('failed to delete diff upload', { ref, error: String(err) })
      }
    }
  }
}

const uniqueRef = (): string => `${Date.now()}000000-${randomBytes(3).toString('base64url')}`

const nanoseconds = (date: Date | undefined): bigint | undefined =>
  date && BigInt(date.getTime()) * 1_000_000n

const pieceSize = 1 << 20

/** Reads a blob from its start, one piece a call. */
function piecesOf(reader: Reader): () => Promise<Uint8Array | undefined> {
  let at = 0
  return async () => {
    if (at >= reader.size) return undefined
    const piece = await reader.read(at, pieceSize)
    at += piece.length
    return piece.length === 0 ? undefined : piece
  }
}
