import type { Context } from '#core/context.ts'
import type { Image } from '#core/images/images.ts'
import type { Resolution } from '#core/remotes/remotes.ts'
import { underLease } from '#core/transfer/lease.ts'
import { namedImages, storeImage } from '#core/transfer/names.ts'
import type { TransferStores } from '#core/transfer/stores.ts'
import type { ImageTarget, RegistryEnd, TransferOptions } from '#core/transfer/transfer.ts'
import type { ImageVerifier } from '#core/verification/verification.ts'
import { CodedError, codeOf, notFound } from '#lib/errors/errors.ts'

import { askVerifiers } from './ask-verifiers.ts'
import type { Downloads } from './downloads.ts'
import { ProgressTracker } from './progress.ts'
import { Selection } from './selection.ts'
import { Walk } from './walk.ts'

/** What pulls stand on. */
export interface PullParts {
  readonly stores: TransferStores
  /** By name. */
  readonly verifiers: ReadonlyMap<string, ImageVerifier>
  /** The same for all pulls, so that they load a blob once. */
  readonly downloads: Downloads
}

/** See `Transferrer.pull`. Source: upstream `core/transfer/local/pull.go`. */
export async function pullImage(
  ctx: Context,
  parts: PullParts,
  from: RegistryEnd,
  into: ImageTarget,
  { onProgress = () => undefined }: TransferOptions = {},
): Promise<Image> {
  const { stores, downloads } = parts
  const registry = `OCI Registry (${from.reference})`
  await using leased = await underLease(ctx, stores.leases)
  const inside = leased.ctx

  onProgress({ event: `Resolving from ${registry}` })
  const { name, target } = await resolved(inside, from)
  const wanted = namedImages(target, into)
  await askVerifiers(inside, parts.verifiers, {
    name,
    names: wanted.map((image) => image.name),
    target,
    remotes: from.remotes,
  })

  onProgress({ event: `Pulling from ${registry}` })
  onProgress({ event: 'fetching image content', name, descriptor: target })
  {
    using tracker = new ProgressTracker(name, onProgress)
    const walk = new Walk({
      stores,
      downloads,
      reference: name,
      fetcher: await from.remotes.fetcher(inside, name),
      selection: new Selection(into),
      unpacks: supported(inside, stores, into),
      tracker,
    })
    await walk.load(inside, target)
  }

  const images: Image[] = []
  for (const image of wanted) {
    images.push(await storeImage(inside, stores.images, image))
  }
  for (const image of images) {
    onProgress({ event: 'saved', name: image.name, descriptor: image.target })
  }
  onProgress({ event: `Completed pull from ${registry}` })
  const [first] = images
  if (!first) throw notFound('no image name found')
  return first
}

async function resolved(
  ctx: Context,
  { remotes, reference }: RegistryEnd,
): Promise<Pick<Resolution, 'name' | 'target'>> {
  return await remotes.resolve(ctx, reference).catch((err: unknown) => {
    ctx.signal.throwIfAborted()
    const why = err instanceof Error ? err.message : String(err)
    const message = `failed to resolve image: ${why}`
    throw new CodedError(codeOf(err) ?? 'unknown', message, { cause: err })
  })
}

/** Those unpackings that can be done here. */
function supported(
  ctx: Context,
  stores: Pick<TransferStores, 'unpackPlace'>,
  { unpacks = [] }: ImageTarget,
): ImageTarget['unpacks'] & object {
  return unpacks.filter((target) => {
    if (stores.unpackPlace(target)) return true
    ctx.log.warn('unpack configuration not supported, skipping', { ...target })
    return false
  })
}
