import type { Context } from '#core/context.ts'
import type { Image } from '#core/images/images.ts'
import type { Downloads } from '#core/transfer/pull/downloads.ts'
import type { TransferStores } from '#core/transfer/stores.ts'
import type {
  ImageSource,
  ImageTarget,
  RegistryEnd,
  TransferOptions,
  Transferrer,
} from '#core/transfer/transfer.ts'
import type { ImageVerifier } from '#core/verification/verification.ts'
import { Semaphore } from '#lib/async/semaphore.ts'
import { unimplemented } from '#lib/errors/errors.ts'

export interface LocalTransfersOptions {
  readonly stores: TransferStores
  /** By id. */
  readonly verifiers: ReadonlyMap<string, ImageVerifier>
  readonly hostsDirs: readonly string[]
  /** How many blobs are received and sent at once; 0 for any number. */
  readonly downloadsAtOnce: number
  readonly uploadsAtOnce: number
}

/** Transfers of this daemon. What they are made of is loaded with the first of each kind: most starts need none. */
export class LocalTransfers implements Transferrer {
  readonly hostsDirs: readonly string[]
  readonly #options: LocalTransfersOptions
  readonly #uploads: Semaphore | undefined
  #downloads: Downloads | undefined

  constructor(options: LocalTransfersOptions) {
    this.#options = options
    this.hostsDirs = options.hostsDirs
    this.#uploads = options.uploadsAtOnce > 0 ? new Semaphore(options.uploadsAtOnce) : undefined
  }

  async pull(
    ctx: Context,
    from: RegistryEnd,
    into: ImageTarget,
    options?: TransferOptions,
  ): Promise<Image> {
    const [{ pullImage }, parts] = await Promise.all([
      import('#core/transfer/pull/pull.ts'),
      import('#core/transfer/pull/downloads.ts'),
    ])
    const { stores, verifiers, downloadsAtOnce: atOnce } = this.#options
    this.#downloads ??= new parts.Downloads({ content: stores.content, atOnce })
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
    const { pushImage } = await import('#core/transfer/push.ts')
    const place = { ...this.#options.stores, uploads: this.#uploads }
    await pushImage(ctx, place, from, to, options)
  }

  import(): Promise<readonly Image[]> {
    return Promise.reject(
      unimplemented('importing an archive in the daemon is not built yet in wharf'),
    )
  }

  // oxlint-disable-next-line require-yield -- it gives nothing
  async *export(): AsyncGenerator<Uint8Array> {
    await Promise.reject(unimplemented('exporting images in the daemon is not built yet in wharf'))
  }

  tag(): Promise<Image> {
    return Promise.reject(unimplemented('tagging an image in the daemon is not built yet in wharf'))
  }
}
