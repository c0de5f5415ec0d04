import { randomBytes } from 'node:crypto'

import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes } from '#core/images/oci.ts'
import type { Remotes } from '#core/remotes/remotes.ts'
import { digestOf } from '#lib/digest/digest.ts'

import { type KeyPair, signBytes, simpleSigning } from './signers.ts'

/** Pushes bytes to the repository of `reference`; a manifest gets its tag. */
export async function pushBytes(
  ctx: Context,
  remotes: Remotes,
  reference: string,
  bytes: Uint8Array,
  mediaType: string,
): Promise<Descriptor> {
  const target = { mediaType, digest: digestOf(bytes), size: bytes.length }
  await (await remotes.pusher(ctx, reference)).push(ctx, target, () => [bytes])
  return target
}

export interface ManifestParts {
  readonly config?: Uint8Array
  readonly configType?: string
  readonly layer: Uint8Array
  readonly layerType: string
  readonly annotations?: Readonly<Record<string, string>>
  readonly subject?: Descriptor
  readonly artifactType?: string
}

/** Pushes a manifest with one layer. */
export async function pushManifest(
  ctx: Context,
  remotes: Remotes,
  reference: string,
  parts: ManifestParts,
): Promise<Descriptor> {
  const { artifactType, annotations, subject } = parts
  const configBytes = parts.config ?? Buffer.from('{}')
  const configType = parts.configType ?? 'application/vnd.oci.empty.v1+json'
  const config = await pushBytes(ctx, remotes, reference, configBytes, configType)
  const layer = await pushBytes(ctx, remotes, reference, parts.layer, parts.layerType)
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    ...(artifactType && { artifactType }),
    config,
    layers: [{ ...layer, ...(annotations && { annotations }) }],
    ...(subject && { subject }),
  }
  const bytes = Buffer.from(JSON.stringify(manifest))
  return await pushBytes(ctx, remotes, reference, bytes, mediaTypes.ociManifest)
}

/** Pushes an image for this machine that is like no other, with one layer that is empty. */
export async function pushSmallImage(
  ctx: Context,
  remotes: Remotes,
  reference: string,
): Promise<Descriptor> {
  const layer = Buffer.alloc(1024)
  const config = {
    author: randomBytes(8).toString('hex'),
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: [digestOf(layer)] },
  }
  return await pushManifest(ctx, remotes, reference, {
    config: Buffer.from(JSON.stringify(config)),
    configType: mediaTypes.ociConfig,
    layer,
    layerType: 'application/vnd.oci.image.layer.v1.tar',
  })
}

/** Signs `digest` for `repository` as cosign does, behind the tag where it looks. */
export async function pushCosigned(
  ctx: Context,
  remotes: Remotes,
  at: string,
  { digest, repository, keys }: { digest: string; repository: string; keys: KeyPair },
): Promise<void> {
  const payload = simpleSigning({ digest, repository })
  await pushManifest(ctx, remotes, `${at}:${digest.replace(':', '-')}.sig`, {
    layer: payload,
    layerType: 'application/vnd.dev.cosign.simplesigning.v1+json',
    annotations: {
      'dev.cosignproject.cosign/signature': signBytes(payload, keys).toString('base64'),
    },
  })
}
