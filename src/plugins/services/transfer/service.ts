import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { StreamManager } from '#core/streaming/streaming.ts'
import type { TransferOptions, Transferrer } from '#core/transfer/transfer.ts'
import type { ImageStore } from '#gen/types/transfer/imagestore_pb.ts'
import type { ImageExportStream, ImageImportStream } from '#gen/types/transfer/importexport_pb.ts'
import type { OCIRegistry } from '#gen/types/transfer/registry_pb.ts'
import { CodedError } from '#lib/errors/errors.ts'
import {
  exportOptionsFromProto,
  exportedFromProto,
  imageSourceFromProto,
  imageTargetFromProto,
} from '#proxy/convert/transfer.ts'
import { receiveBytes, sendBytes } from '#proxy/transfer/byte-stream.ts'

import { type End, endOf } from './ends.ts'
import { ProgressSender } from './progress-sender.ts'
import { type OpenRegistry, openRegistry } from './registry-end.ts'

/** What a client asks for. */
export interface TransferRequest {
  readonly source: Any | undefined
  readonly destination: Any | undefined
  /** Id of a stream; empty for none. */
  readonly progressStream: string
}

/**
 * Transfers between two ends that a client describes:
 *
 *     from \ to     registry   images   archive
 *     registry      ·          pull     ·
 *     images        push       tag      export
 *     archive       ·          import   echo
 *
 * Source: upstream `plugins/services/transfer`, `core/transfer/local/transfer.go`.
 */
export class TransferService {
  readonly #transfers: Transferrer
  readonly #streams: StreamManager

  constructor(transfers: Transferrer, streams: StreamManager) {
    this.#transfers = transfers
    this.#streams = streams
  }

  /**
   * @throws `unimplemented` for two ends between which nothing moves; `not_found` for a stream that is
   * not open; and as `Transferrer`.
   */
  async transfer(ctx: Context, request: TransferRequest): Promise<void> {
    await using scope = new AsyncDisposableStack()
    const options = this.#listen(ctx, request.progressStream, scope)
    const work = this.#workOf(request, endOf(request.source), endOf(request.destination))
    await work(ctx, options)
  }

  #listen(ctx: Context, id: string, scope: AsyncDisposableStack): TransferOptions {
    if (id === '') return {}
    const sender = scope.use(new ProgressSender(ctx, this.#streams.get(ctx, id)))
    return { onProgress: sender.report }
  }

  #workOf(request: TransferRequest, from: End, to: End): Work {
    if (from.kind === 'registry' && to.kind === 'images') {
      return async (ctx, options) => await this.#pull(ctx, from.message, to.message, options)
    }
    if (from.kind === 'images' && to.kind === 'registry') {
      return async (ctx, options) => await this.#push(ctx, from.message, to.message, options)
    }
    if (from.kind === 'images' && to.kind === 'images') {
      return async (ctx) => {
        await this.#transfers.tag(ctx, from.message.name, imageTargetFromProto(to.message))
      }
    }
    if (from.kind === 'images' && to.kind === 'archive-out') {
      return async (ctx, options) => await this.#export(ctx, from.message, to.message, options)
    }
    if (from.kind === 'archive-in' && to.kind === 'images') {
      return async (ctx, options) => await this.#import(ctx, from.message, to.message, options)
    }
    if (from.kind === 'archive-in' && to.kind === 'archive-out') {
      return async (ctx) => await this.#echo(ctx, from.message, to.message)
    }
    throw refusal(request)
  }

  async #pull(
    ctx: Context,
    from: OCIRegistry,
    into: ImageStore,
    options: TransferOptions,
  ): Promise<void> {
    await using registry = await this.#open(ctx, from)
    await this.#transfers.pull(registry.ctx, registry.end, imageTargetFromProto(into), options)
  }

  async #push(
    ctx: Context,
    from: ImageStore,
    to: OCIRegistry,
    options: TransferOptions,
  ): Promise<void> {
    await using registry = await this.#open(ctx, to)
    await this.#transfers.push(registry.ctx, imageSourceFromProto(from), registry.end, options)
  }

  async #open(ctx: Context, registry: OCIRegistry): Promise<OpenRegistry> {
    return await openRegistry(ctx, this.#streams, registry, this.#transfers.hostsDirs ?? [])
  }

  async #import(
    ctx: Context,
    from: ImageImportStream,
    into: ImageStore,
    options: TransferOptions,
  ): Promise<void> {
    const stream = this.#streams.get(ctx, from.stream)
    using scope = new DisposableStack()
    scope.defer(() => stream.close())
    const bytes = receiveBytes(ctx, stream)
    const archive = { bytes, forceCompress: from.forceCompress }
    await this.#transfers.import(ctx, archive, imageTargetFromProto(into), options)
  }

  async #export(
    ctx: Context,
    from: ImageStore,
    to: ImageExportStream,
    options: TransferOptions,
  ): Promise<void> {
    const stream = this.#streams.get(ctx, to.stream)
    using scope = new DisposableStack()
    scope.defer(() => stream.close())
    const images = exportedFromProto(from, to)
    const all = { ...exportOptionsFromProto(to), ...options }
    await sendBytes(ctx, stream, this.#transfers.export(ctx, images, all))
  }

  /** Gives an archive back as it came. Source: upstream `echo`. */
  async #echo(ctx: Context, from: ImageImportStream, to: ImageExportStream): Promise<void> {
    const input = this.#streams.get(ctx, from.stream)
    const output = this.#streams.get(ctx, to.stream)
    using scope = new DisposableStack()
    scope.defer(() => input.close())
    scope.defer(() => output.close())
    await sendBytes(ctx, output, receiveBytes(ctx, input))
  }
}

type Work = (ctx: Context, options: TransferOptions) => Promise<void>

/** In upstream's words, which do not end with the class of the error. */
function refusal({ source, destination }: TransferRequest): CodedError {
  const [from, to] = [source?.typeUrl ?? '', destination?.typeUrl ?? '']
  return new CodedError('unimplemented', `method Transfer not implemented for ${from} to ${to}`)
}
