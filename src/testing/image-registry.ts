import type { IncomingMessage, ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'

import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes } from '#core/images/oci.ts'
import type { Platform } from '#core/platforms/platforms.ts'
import { digestOf } from '#lib/digest/digest.ts'

import { Hostile } from './hostile-registry.ts'

interface Stored {
  readonly mediaType: string
  readonly bytes: Uint8Array
}

/** What is done with a request for content instead of answering it; undefined for nothing. */
type Meddle = (
  digest: string,
  response: ServerResponse,
  range?: string,
) => Promise<boolean> | boolean

const layerType = 'application/vnd.oci.image.layer.v1.tar'

/** An entry of an index: `linux/arm64` when it is an image for that. */
export interface Entry extends Descriptor {
  readonly platform?: Platform
}

/** A registry in this process, with what tests put into it. It knows who asked for what. */
export class ImageRegistry implements AsyncDisposable {
  readonly #content = new Map<string, Stored>()
  readonly #tags = new Map<string, string>()
  /** Of layers that are compressed: what they are when they are not. */
  readonly #diffIds = new Map<string, string>()
  readonly #server: Hostile
  /** Digests that were asked for, with the range if there was one. */
  readonly asked: string[] = []
  /** Comes before each answer with content: `true` says that it has answered itself. */
  meddle: Meddle = () => false

  private constructor(server: Hostile) {
    this.#server = server
  }

  static async open(): Promise<ImageRegistry> {
    const answer = async (request: IncomingMessage, response: ServerResponse, path: string) =>
      await registry.#answer(request, response, path)
    const registry: ImageRegistry = new ImageRegistry(await Hostile.open(answer))
    return registry
  }

  get host(): string {
    return this.#server.host
  }

  put(mediaType: string, bytes: Uint8Array): Descriptor {
    const digest = digestOf(bytes)
    this.#content.set(digest, { mediaType, bytes })
    return { mediaType, digest, size: bytes.length }
  }

  putJson(mediaType: string, value: object): Descriptor {
    const whole = { schemaVersion: 2, mediaType, ...value }
    return this.put(mediaType, Buffer.from(JSON.stringify(whole)))
  }

  /** A layer that is compressed with gzip. */
  putGzip(archive: Uint8Array): Descriptor {
    const layer = this.put(`${layerType}+gzip`, gzipSync(archive))
    this.#diffIds.set(layer.digest, digestOf(archive))
    return layer
  }

  /** An image that has `layers`, for `platform`. */
  putImage(
    layers: readonly (Uint8Array | Descriptor)[],
    platform: Platform = { os: 'linux', architecture: 'amd64', variant: '' },
  ): Entry {
    const entries = layers.map((layer) =>
      layer instanceof Uint8Array ? this.put(layerType, layer) : layer,
    )
    const diffIds = entries.map(({ digest }) => this.#diffIds.get(digest) ?? digest)
    const rootfs = { type: 'layers', diff_ids: diffIds }
    const config = this.put(
      mediaTypes.ociConfig,
      Buffer.from(JSON.stringify({ ...platform, rootfs })),
    )
    const manifest = this.putJson(mediaTypes.ociManifest, { config, layers: entries })
    return { ...manifest, platform }
  }

  putIndex(manifests: readonly Entry[]): Descriptor {
    return this.putJson(mediaTypes.ociIndex, { manifests })
  }

  /** @returns the reference of `target`. */
  tag({ digest }: Descriptor, name: string): string {
    this.#tags.set(name, digest)
    return `${this.host}/test/image:${name}`
  }

  bytesOf({ digest }: Descriptor): Uint8Array {
    return this.#content.get(digest)?.bytes ?? new Uint8Array()
  }

  /** How often content was asked for. */
  timesAsked({ digest }: Descriptor): number {
    return this.asked.filter((line) => line.startsWith(digest)).length
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]()
  }

  async #answer(request: IncomingMessage, response: ServerResponse, path: string): Promise<void> {
    const object = path.split('/').at(-1) ?? ''
    const digest = this.#tags.get(object) ?? object
    const stored = this.#content.get(digest)
    if (!stored) return void response.writeHead(404).end()
    const { mediaType, bytes } = stored
    const headers = { 'content-type': mediaType, 'docker-content-digest': digest }
    if (request.method === 'HEAD') {
      return void response.writeHead(200, { ...headers, 'content-length': bytes.length }).end()
    }
    const { range } = request.headers
    this.asked.push(range === undefined ? digest : `${digest} ${range}`)
    if (await this.meddle(digest, response, range)) return
    const [, from = '0', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? []
    const end = to === '' ? bytes.length : Math.min(bytes.length, Number(to) + 1)
    const part = bytes.subarray(Number(from), end)
    response.writeHead(range === undefined ? 200 : 206, {
      ...headers,
      'content-length': part.length,
      'content-range': `bytes ${from}-${end - 1}/${bytes.length}`,
    })
    response.end(part)
  }
}
