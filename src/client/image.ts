import type { Descriptor, Image as ImageRecord } from '#core/images/images.ts'
import { type ImageUsage, usageOf } from '#core/images/usage.ts'
import type { Labels } from '#core/labels/labels.ts'
import { refKey } from '#core/transfer/ref-key.ts'
import type { ReportProgress } from '#core/transfer/transfer.ts'
import { unpackImage } from '#core/unpack/unpack-image.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'

import { chainIds } from '#core/images/chain-id.ts'
import { TemporaryLease } from './lease.ts'
import { type ResolvedImage, resolveImage } from './manifest.ts'
import type { ImageConfig } from '#core/images/oci.ts'
import { hostPlatform, parsePlatform } from '#core/platforms/platforms.ts'
import type { Session } from './session.ts'
import type { TransferOptions } from './transfer/options.ts'
import { hearing } from './transfer/progress.ts'
import { unpackPlace } from './unpack.ts'

/** For which platform an image is meant. */
export interface PlatformOptions extends AbortOptions {
  /** `os/arch`; that of this machine without it. */
  readonly platform?: string
}

/** Where an image is unpacked to. */
export interface UnpackOptions extends PlatformOptions, TransferOptions {
  /** The client's default without it. */
  readonly snapshotter?: string
}

/** One image, as it was when it was looked up. */
export class Image {
  readonly name: string
  readonly labels: Labels
  readonly target: Descriptor
  readonly #session: Session

  constructor(session: Session, record: ImageRecord) {
    this.#session = session
    this.name = record.name
    this.labels = record.labels
    this.target = record.target
  }

  /** What it says about running it. @throws `not_found` when it is not for that platform. */
  async config(options: PlatformOptions = {}): Promise<ImageConfig> {
    return (await this.#resolve(options)).config
  }

  /** Name of the snapshot its containers stand on, once it is unpacked. */
  async chainId(options: PlatformOptions = {}): Promise<string> {
    return chainIds((await this.config(options)).diffIds).at(-1) ?? ''
  }

  /** Makes its layers into snapshots, as far as they are not. @returns the name of the top one. */
  async unpack(options: UnpackOptions = {}): Promise<string> {
    return await unpackRecord(this.#session, this, options, hearing(options).onProgress)
  }

  /** What it takes on disk. */
  async usage(options: Pick<UnpackOptions, 'snapshotter' | 'signal'> = {}): Promise<ImageUsage> {
    const session = this.#session
    const snapshotter = session.snapshotter(options.snapshotter)
    return await usageOf(session.context(options), session.content, this.target, snapshotter)
  }

  async #resolve(options: PlatformOptions): Promise<ResolvedImage> {
    return await resolveTarget(this.#session, this.target, options)
  }
}

async function resolveTarget(
  session: Session,
  target: Descriptor,
  options: PlatformOptions,
): Promise<ResolvedImage> {
  const platform = options.platform ? parsePlatform(options.platform) : hostPlatform
  return await resolveImage(session.context(options), session.content, target, platform)
}

/** See `Image.unpack`. `report` hears of each layer. */
export async function unpackRecord(
  outer: Session,
  { name, target }: Pick<ImageRecord, 'name' | 'target'>,
  options: UnpackOptions,
  report: ReportProgress | undefined,
): Promise<string> {
  await using lease = await TemporaryLease.take(outer, options)
  const { session } = lease
  const snapshotter = options.snapshotter ?? session.settings.snapshotter
  const image = { name, ...(await resolveTarget(session, target, options)) }
  return await unpackImage(session.context(options), unpackPlace(session, snapshotter), image, {
    onProgress: ({ event, layer }) =>
      report?.({ event, name: refKey(layer), total: layer.size, descriptor: layer }),
  })
}
