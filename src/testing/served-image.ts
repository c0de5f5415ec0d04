import { gzipSync } from 'node:zlib'

import type { Descriptor } from '#core/images/images.ts'
import { type Manifest, mediaTypes, parseManifest } from '#core/images/oci.ts'
import { RegistryClient } from '#core/remotes/client.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { encodeHeader, endOfArchive, paddingOf } from '#lib/tar/writer.ts'

import { silent } from '#core/context.ts'
import { type Handler, offsetOf } from './hostile-registry.ts'

/** A layer before it is in an image: what is sent, and the digest of what that unpacks to. */
export interface ServedLayer {
  readonly bytes: Buffer
  readonly diffId: string
}

/** Content of a registry, in memory. */
export class ServedContent {
  readonly #blobs = new Map<string, { readonly mediaType: string; readonly bytes: Buffer }>()

  add(mediaType: string, bytes: Buffer): Descriptor {
    const digest = digestOf(bytes)
    this.#blobs.set(digest, { mediaType, bytes })
    return { mediaType, digest, size: bytes.length }
  }

  addJson(mediaType: string, value: object): Descriptor {
    const text = JSON.stringify({ schemaVersion: 2, mediaType, ...value })
    return this.add(mediaType, Buffer.from(text))
  }

  /** A config and a manifest for `layers`; `lie` changes what the manifest says of them. */
  addImage(
    layers: readonly ServedLayer[],
    lie: (descriptors: readonly Descriptor[]) => readonly object[] = (same) => same,
  ): Descriptor {
    const diffIds = layers.map(({ diffId }) => diffId)
    const platform = { architecture: process.arch === 'arm64' ? 'arm64' : 'amd64', os: 'linux' }
    const rootfs = { type: 'layers', diff_ids: diffIds }
    const config = Buffer.from(JSON.stringify({ ...platform, config: {}, rootfs }))
    const type = 'application/vnd.oci.image.layer.v1.tar+gzip'
    return this.addJson(mediaTypes.ociManifest, {
      config: this.add(mediaTypes.ociConfig, config),
      layers: lie(layers.map(({ bytes }) => this.add(type, bytes))),
    })
  }

  bytesOf({ digest }: Descriptor): Buffer {
    const blob = this.#blobs.get(digest)
    if (blob === undefined) throw new Error(`${digest} was not added`)
    return blob.bytes
  }

  manifestOf(target: Descriptor): Manifest {
    return parseManifest(this.bytesOf(target))
  }

  /** The first layer of an image. */
  layerOf(target: Descriptor): Descriptor {
    const [layer] = this.manifestOf(target).layers
    if (layer === undefined) throw new Error(`${target.digest} has no layer`)
    return layer
  }

  /** Puts an image into a registry of docker. */
  async publish(target: Descriptor, reference: string): Promise<void> {
    await using client = new RegistryClient()
    const ctx = { signal: AbortSignal.timeout(60_000), log: silent }
    const pusher = await client.pusher(ctx, reference)
    const { config, layers } = this.manifestOf(target)
    for (const each of [config, ...layers, target]) {
      await pusher.push(ctx, each, (offset) => [this.bytesOf(each).subarray(offset)])
    }
  }

  /** Serves all of it, in any repository, and `target` under any tag. */
  serving(target: Descriptor): Handler {
    return (request, response, path) => {
      const [, kind = '', name = ''] = /(manifests|blobs)\/([^/?]+)/.exec(path) ?? []
      const digest = kind === 'manifests' && !name.includes(':') ? target.digest : name
      const blob = this.#blobs.get(digest)
      if (blob === undefined) return response.writeHead(404).end()
      const { mediaType, bytes } = blob
      const offset = offsetOf(request)
      const [, last = ''] = /-(\d+)$/.exec(request.headers.range ?? '') ?? []
      const end = last === '' ? bytes.length : Math.min(bytes.length, Number(last) + 1)
      response.writeHead(request.headers.range === undefined ? 200 : 206, {
        'content-type': mediaType,
        'content-length': end - offset,
        'docker-content-digest': digest,
        ...(request.headers.range !== undefined && {
          'content-range': `bytes ${offset}-${end - 1}/${bytes.length}`,
        }),
      })
      return response.end(request.method === 'HEAD' ? undefined : bytes.subarray(offset, end))
    }
  }
}

/** A gzipped layer with `files`. */
export function gzipLayer(files: Readonly<Record<string, Uint8Array>>): ServedLayer {
  const blocks = Object.entries(files).flatMap(([name, bytes]) => [
    encodeHeader({ type: 'file', name, mode: 0o644, size: bytes.length }),
    bytes,
    Buffer.alloc(paddingOf(bytes.length)),
  ])
  const tar = Buffer.concat([...blocks, endOfArchive])
  return { bytes: gzipSync(tar, { level: 1 }), diffId: digestOf(tar) }
}
