import type { Context } from '#core/context.ts'
import type { DeleteImageOptions, Image as ImageRecord } from '#core/images/images.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'

import { type ConvertOptions, convertAs } from './convert.ts'
import { Image, unpackRecord } from './image.ts'
import { type ArchiveSource, importArchive } from './import/import.ts'
import { TemporaryLease } from './lease.ts'
import { hostPlatform, parsePlatform } from '#core/platforms/platforms.ts'
import type { Session } from './session.ts'
import type {
  ExportOptions,
  PullOptions,
  PushOptions,
  TransferOptions,
} from './transfer/options.ts'
import { hearing } from './transfer/progress.ts'
import { exportImages, pullImage, pushImage, tagImage } from './transfer/transfers.ts'

/** How to import an archive. */
export interface ImportOptions extends TransferOptions {
  /** `os/arch`; that of this machine without it. */
  readonly platform?: string
  /** Name for an image of an OCI layout that has only a tag. */
  readonly baseName?: string
  /** Do not keep the layers as they came: what is unpacked is enough to run it, not to export it. */
  readonly discardLayers?: boolean
  /** Make the layers into snapshots, ready to run; yes without it. */
  readonly unpack?: boolean
  /** Where to unpack to; the client's default without it. */
  readonly snapshotter?: string
}

/** The images of one namespace. */
export class Images {
  readonly #session: Session

  constructor(session: Session) {
    this.#session = session
  }

  /** @throws `not_found`. */
  async get(name: string, options: AbortOptions = {}): Promise<Image> {
    const record = await this.#session.images.get(this.#session.context(options), name)
    return new Image(this.#session, record)
  }

  /** Those that match any of `filters`; all without one. @throws `invalid_argument`. */
  async list(filters: readonly string[] = [], options: AbortOptions = {}): Promise<Image[]> {
    const records = await this.#session.images.list(this.#session.context(options), filters)
    return records.map((record) => new Image(this.#session, record))
  }

  /** Names content. @throws `already_exists`, `invalid_argument`. */
  async create(
    image: Pick<ImageRecord, 'name' | 'target'> & Partial<Pick<ImageRecord, 'labels'>>,
    options: AbortOptions = {},
  ): Promise<Image> {
    const ctx = this.#session.context(options)
    const record = await this.#session.images.create(ctx, { labels: {}, ...image })
    return new Image(this.#session, record)
  }

  /** @throws `not_found`. */
  async delete(name: string, options: AbortOptions & DeleteImageOptions = {}): Promise<void> {
    await this.#session.images.delete(this.#session.context(options), name, options)
  }

  /**
   * Has the daemon pull an image from a registry, and unpack it.
   *
   *     await client.images.pull('docker.io/library/alpine:3.20', { credentials: dockerCredentials() })
   *
   * @throws `not_found` when the registry has no such image, or the image no such platform;
   * `unauthenticated`, `permission_denied`, `resource_exhausted` and `unavailable` as the registry says;
   * `unimplemented` from a daemon that moves no images.
   */
  async pull(reference: string, options: PullOptions = {}): Promise<Image> {
    await pullImage(this.#session, reference, options)
    return await this.get(reference, options)
  }

  /** Has the daemon push an image to a registry. @throws as `pull`. */
  async push(reference: string, options: PushOptions = {}): Promise<void> {
    await pushImage(this.#session, reference, options)
  }

  /**
   * An archive with images, an OCI layout that Docker reads too, as it comes from the daemon.
   *
   * @throws with the first bytes, or instead of the end: `not_found`; `unimplemented` as `pull`.
   */
  export(
    names: string | readonly string[],
    options: ExportOptions = {},
  ): AsyncIterable<Uint8Array> {
    return exportImages(this.#session, [names].flat(), options)
  }

  /** Gives an image another name, also one that another image has. @throws `not_found`. */
  async tag(name: string, as: string, options: AbortOptions = {}): Promise<Image> {
    await tagImage(this.#session, name, as, options)
    return await this.get(as, options)
  }

  /**
   * Makes an image with its layers compressed otherwise, or with other media types, and calls it `as`.
   *
   *     await client.images.convert(name, `${name}-zstd`, { layers: 'zstd' })
   *
   * @throws `not_found` when it is not there, or a part of it.
   */
  async convert(name: string, as: string, options: ConvertOptions = {}): Promise<Image> {
    return new Image(this.#session, await convertAs(this.#session, name, as, options))
  }

  /**
   * Reads an OCI layout or a `docker save` archive.
   *
   * A lease keeps what arrives until the images are there; a failed import leaves nothing that the
   * collector would not take.
   *
   * @throws `invalid_argument` for an archive that is neither; `not_found` when it is not complete.
   */
  async import(source: ArchiveSource, options: ImportOptions = {}): Promise<Image[]> {
    const { platform, baseName = '', unpack = true, snapshotter } = options
    const { discardLayers = false } = options
    const { onProgress: report } = hearing(options)
    await using lease = await TemporaryLease.take(this.#session, options)
    const ctx: Context = lease.session.context(options)
    const records = await importArchive(ctx, lease.session, source, {
      platform: platform ? parsePlatform(platform) : hostPlatform,
      baseName,
      discardLayers,
      report,
    })
    const unpackOptions = snapshotter ? { ...options, snapshotter } : options
    for (const record of unpack ? records : []) {
      await unpackRecord(lease.session, record, unpackOptions, report)
    }
    return records.map((record) => new Image(this.#session, record))
  }
}
