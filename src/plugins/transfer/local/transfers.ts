import type { Context } from '#core/context.ts'
import type { Image } from '#core/images/images.ts'
import type { Downloads } from '#core/transfer/pull/downloads.ts'
import type { TransferStores } from '#core/transfer/stores.ts'
import type {
  ArchiveSource,
  ExportOptions,
  ImageSource,
  ImageTarget,
  RegistryEnd,
  TransferOptions,
  Transferrer,
} from '#core/transfer/transfer.ts'
import type { ImageVerifier } from '#core/verification/verification.ts'
import { Semaphore } from '#lib/async/semaphore.ts'

export interface LocalTransfersOptions {
  readonly stores: TransferStores
  /** By id. */
  readonly verifiers: ReadonlyMap<string, ImageVerifier>
  readonly hostsDirs: readonly string[]
  /** How many blobs are received and sent at once; 0 for any number. */
  readonly downloadsAtOnce: number
  /** Bytes of the parts that large blobs are received in; 0 to do so only when a connection is slow. */
  readonly partBytes: number
  readonly uploadsAtOnce: number
}

/** Transfers of this daemon. What they are made of is loaded with the first of each kind: most starts need none. */
export class LocalTransfers implements Transferrer {
  readonly #options: LocalTransfersOptions
  readonly #uploads: Semaphore | undefined
  #hostsDirs: readonly string[]
  #downloads: Downloads | undefined

  constructor(options: LocalTransfersOptions) {
    this.#options = options
    this.#hostsDirs = options.hostsDirs
    this.#uploads = options.uploadsAtOnce > 0 ? new Semaphore(options.uploadsAtOnce) : undefined
  }

  get hostsDirs(): readonly string[] {
    return this.#hostsDirs
  }

  /** For transfers that begin from now on. */
  configure(hostsDirs: readonly string[]): void {
    this.#hostsDirs = hostsDirs
  }

  async pull(
    ctx: Context,
    from: RegistryEnd,
    into: ImageTarget,
    options?: TransferOptions,
  ): Promise<Image> {
    const { Downloads, pullImage } = await import('#core/transfer/moving.ts')
    const { stores, verifiers, downloadsAtOnce: atOnce, partBytes } = this.#options
    this.#downloads ??= new Downloads({ content: stores.content, atOnce, partBytes })
    return await pullImage(
      ctx,
      { stores, verifiers, downloads: this.#downloads },
      from,
      into,
      options,
    )
  }

  async push(
    ctx: Context,
    from: ImageSource,
    to: RegistryEnd,
    options?: TransferOptions,
  ): Promise<void> {
    const { pushImage } = await import('#core/transfer/moving.ts')
    const place = { ...this.#options.stores, uploads: this.#uploads }
    await pushImage(ctx, place, from, to, options)
  }

  async import(
    ctx: Context,
    from: ArchiveSource,
    into: ImageTarget,
    options?: TransferOptions,
  ): Promise<readonly Image[]> {
    const { importImages } = await import('#core/transfer/moving.ts')
    return await importImages(ctx, this.#options.stores, from, into, options)
  }

  async *export(
    ctx: Context,
    images: readonly ImageSource[],
    options?: ExportOptions,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { exportImages } = await import('#core/transfer/moving.ts')
    yield* exportImages(ctx, this.#options.stores, images, options)
  }

  async tag(ctx: Context, name: string, into: ImageTarget): Promise<Image> {
    const { tagImage } = await import('#core/transfer/moving.ts')
    return await tagImage(ctx, this.#options.stores, name, into)
  }
}
