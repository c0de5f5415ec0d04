import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes } from '#core/images/oci.ts'
import type { Body, Fetcher, Referrer, Remotes, Resolution } from '#core/remotes/remotes.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { notFound, unimplemented } from '#lib/errors/errors.ts'

/** A registry that is a few maps: to say anything in it, also what no registry would keep. */
export class MemoryRegistry implements Remotes {
  /** Bytes by the digest they are given for, which need not be theirs. */
  readonly blobs = new Map<string, Uint8Array>()
  readonly tags = new Map<string, Descriptor>()
  readonly referrers: Referrer[] = []
  /** What everything fails with, when there is something. */
  fault: Error | undefined

  put(bytes: Uint8Array, mediaType: string): Descriptor {
    const digest = digestOf(bytes)
    this.blobs.set(digest, bytes)
    return { mediaType, digest, size: bytes.length }
  }

  putJson(value: unknown, mediaType: string = mediaTypes.ociManifest): Descriptor {
    return this.put(Buffer.from(JSON.stringify(value)), mediaType)
  }

  async resolve(_: Context, reference: string): Promise<Resolution> {
    await this.#answer()
    const target = this.tags.get(reference)
    if (target === undefined) throw notFound(`resolve "${reference}"`)
    return { name: reference, target, host: 'memory' }
  }

  async fetcher(): Promise<Fetcher> {
    await this.#answer()
    return {
      fetch: async (_ctx, { digest }) => {
        await this.#answer()
        const bytes = this.blobs.get(digest)
        if (bytes === undefined) throw notFound(`fetch ${digest}`)
        return bodyOf(bytes)
      },
      fetchByDigest: async () => await Promise.reject(unimplemented('by digest alone')),
      referrers: async (_ctx, _digest, { artifactTypes = [] } = {}) => {
        await this.#answer()
        return this.referrers.filter(({ artifactType = '' }) =>
          artifactTypes.includes(artifactType),
        )
      },
    }
  }

  async pusher(): Promise<never> {
    return await Promise.reject(unimplemented('nothing is pushed here'))
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #answer(): Promise<void> {
    await Promise.resolve()
    if (this.fault) throw this.fault
  }
}

const bodyOf = (bytes: Uint8Array): Body => ({
  host: 'memory',
  size: bytes.length,
  isPart: false,
  // oxlint-disable-next-line typescript/require-await -- the bytes are here already
  async *[Symbol.asyncIterator]() {
    yield bytes
  },
  [Symbol.asyncDispose]: async () => await Promise.resolve(),
})
