import { gzipSync } from 'node:zlib'

import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes } from '#core/images/oci.ts'
import { type Platform, formatPlatform } from '#core/platforms/platforms.ts'
import type { Pusher, Remotes } from '#core/remotes/remotes.ts'
import { digestOf } from '#lib/digest/digest.ts'

import { archive, file } from './layer-archive.ts'

const layerType = 'application/vnd.oci.image.layer.v1.tar+gzip'

/** Pushes an index with an image for each platform: two layers, of which the lower is the same in all. */
export async function pushManyPlatforms(
  ctx: Context,
  remotes: Remotes,
  reference: string,
  platforms: readonly Platform[],
): Promise<void> {
  const pusher = await remotes.pusher(ctx, reference)
  const manifests: (Descriptor & { readonly platform: object })[] = []
  for (const platform of platforms) {
    const { os, architecture, variant } = platform
    const pushed = await pushImage(ctx, pusher, platform)
    const shown = { os, architecture, ...(variant !== '' && { variant }) }
    manifests.push({ ...pushed, platform: shown })
  }
  await put(ctx, pusher, mediaTypes.ociIndex, json({ ...versionTwo, manifests }))
}

const versionTwo = { schemaVersion: 2, mediaType: mediaTypes.ociIndex }

async function pushImage(ctx: Context, pusher: Pusher, platform: Platform): Promise<Descriptor> {
  const { os, architecture, variant } = platform
  const tars = [
    archive(file('common', 'the same on all platforms\n')),
    archive(file('platform', `${formatPlatform(platform)}\n`)),
  ]
  const layers: Descriptor[] = []
  for (const tar of tars) layers.push(await put(ctx, pusher, layerType, gzipSync(tar)))
  const config = json({
    os,
    architecture,
    ...(variant !== '' && { variant }),
    config: { Cmd: ['sh'] },
    rootfs: { type: 'layers', diff_ids: tars.map((tar) => digestOf(tar)) },
  })
  const manifest = json({
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: await put(ctx, pusher, mediaTypes.ociConfig, config),
    layers,
  })
  // The tag is for the index.
  const target = descriptorOf(mediaTypes.ociManifest, manifest)
  await pusher.push(ctx, target, (offset) => [manifest.subarray(offset)])
  return target
}

const json = (value: object): Uint8Array => Buffer.from(JSON.stringify(value))

const descriptorOf = (mediaType: string, bytes: Uint8Array): Descriptor => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
})

async function put(
  ctx: Context,
  pusher: Pusher,
  mediaType: string,
  bytes: Uint8Array,
): Promise<Descriptor> {
  const target = descriptorOf(mediaType, bytes)
  await pusher.push(ctx, target, (offset) => [bytes.subarray(offset)])
  return target
}
