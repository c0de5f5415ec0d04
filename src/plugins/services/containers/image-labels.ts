import type { NewContainer } from '#core/containers/containers.ts'
import { readBlob } from '#core/content/read-blob.ts'
import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import {
  isIndex,
  isManifest,
  parseIndex,
  parseManifest,
  parseObject,
  record,
} from '#core/images/oci.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Metadata } from '#core/metadata/metadata.ts'
import { restartPrefix } from '#core/restart/restart.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'

/** More than any real index, manifest or config has, in bytes; and manifests of one image. */
const [maxJsonBytes, maxManifests] = [16 << 20, 64]

/** Where images are looked up. */
export type ImageParts = Pick<Metadata, 'images' | 'content'>

/**
 * `container` without the labels for the restart monitor that its image brought.
 *
 * Clients copy the labels of an image's config to its containers, and `containerd.io/restart.loguri`
 * can name a program that root runs (CVE-2026-53488). Newer clients leave out what is reserved; this is
 * for the others. The label of a caller that says exactly what the image says goes, too.
 *
 * @throws what is wrong with the image: whose labels cannot be told is not to be restarted.
 */
export async function withoutImageLabels(
  ctx: Context,
  { images, content }: ImageParts,
  container: NewContainer,
): Promise<NewContainer> {
  const given = Object.keys(container.labels).filter((key) => key.startsWith(restartPrefix))
  if (given.length === 0 || container.image === '') return container
  const found: Labels[] = []
  try {
    const { target } = await images.get(ctx, container.image)
    await collect(ctx, content, target, found)
  } catch (err) {
    // A record that names no image of this daemon has nothing from one.
    if (!hasCode(err, 'not_found')) throw err
  }
  const labels = { ...container.labels }
  for (const key of given) {
    if (!found.some((ofImage) => ofImage[key] === labels[key])) continue
    delete labels[key]
    const { id, image } = container
    ctx.log.warn('label of an image is for callers only, and is left out', { key, image, id })
  }
  return { ...container, labels }
}

/** The labels of every config below `target` that is here. */
async function collect(
  ctx: Context,
  content: ImageParts['content'],
  target: Descriptor,
  found: Labels[],
): Promise<void> {
  for (const queue = [target]; queue.length > 0 && found.length < maxManifests; ) {
    const { mediaType, digest } = queue.shift() ?? target
    const bytes = await readIfThere(ctx, content, digest)
    if (!bytes) continue
    if (isIndex(mediaType)) queue.push(...parseIndex(bytes))
    if (!isManifest(mediaType)) continue
    const config = await readIfThere(ctx, content, parseManifest(bytes).config.digest)
    if (config) found.push(labelsIn(config))
  }
}

async function readIfThere(
  ctx: Context,
  content: ImageParts['content'],
  digest: string,
): Promise<Uint8Array | undefined> {
  try {
    return await readBlob(ctx, content, digest, maxJsonBytes)
  } catch (err) {
    if (hasCode(err, 'not_found')) return undefined
    throw new Error(`cannot read the labels of an image: ${describe(err)}`, { cause: err })
  }
}

function labelsIn(config: Uint8Array): Labels {
  const labels = record(record(parseObject(config, 'image config')['config'])['Labels'])
  const texts = Object.entries(labels).filter((entry): entry is [string, string] => {
    return typeof entry[1] === 'string'
  })
  return Object.fromEntries(texts)
}
