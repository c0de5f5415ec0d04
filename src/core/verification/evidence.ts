import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { list, mediaTypes, parseObject, record, text } from '#core/images/oci.ts'
import { parsePullable } from '#core/remotes/reference.ts'
import type { Referrer } from '#core/remotes/remotes.ts'
import { digestOf, isAlgorithm, parseDigest } from '#lib/digest/digest.ts'
import { hasCode } from '#lib/errors/errors.ts'

import type { Candidate } from './verification.ts'

/** More signatures of one image than this are not looked at. */
export const mostSignatures = 50
const mostManifestBytes = 1024 * 1024

/** A layer of a manifest that holds a signature. */
export interface Layer extends Descriptor {
  readonly annotations: Readonly<Record<string, string>>
}

/** A manifest that may hold signatures. */
export interface SignatureManifest {
  /** Its digest. */
  readonly digest: string
  readonly layers: readonly Layer[]
  /** Digest of what it says it is about, if it says so. */
  readonly subject: string | undefined
}

/** What a registry has beside an image. Everything that is read is bounded, and is what its digest says. */
export class Evidence {
  readonly target: Descriptor
  readonly #candidate: Candidate

  constructor(candidate: Candidate) {
    parseDigest(candidate.target.digest)
    this.target = candidate.target
    this.#candidate = candidate
  }

  /** What a tag of the same repository means; undefined when there is no such tag. */
  async tagged(ctx: Context, tag: string): Promise<Descriptor | undefined> {
    const { name, remotes } = this.#candidate
    const { host, repository } = parsePullable(name)
    try {
      const { target } = await remotes.resolve(ctx, `${host}/${repository}:${tag}`)
      return target
    } catch (err) {
      if (hasCode(err, 'not_found')) return undefined
      throw new Error(`look for the signatures behind tag ${tag}`, { cause: err })
    }
  }

  /** What refers to the image and is of one of these types. */
  async referrers(ctx: Context, artifactTypes: readonly string[]): Promise<readonly Referrer[]> {
    const { name, remotes, target } = this.#candidate
    try {
      const fetcher = await remotes.fetcher(ctx, name)
      return await fetcher.referrers(ctx, target.digest, { artifactTypes })
    } catch (err) {
      throw new Error(`look for the signatures that refer to ${target.digest}`, { cause: err })
    }
  }

  /** @throws Error when it is larger, is not there, or is not what the digest says. */
  async read(ctx: Context, wanted: Descriptor, atMost: number): Promise<Buffer> {
    const { algorithm } = parseDigest(wanted.digest)
    if (wanted.size > atMost) {
      throw new Error(`${wanted.digest} has ${wanted.size} bytes, and may have ${atMost}`)
    }
    const { name, remotes } = this.#candidate
    const fetcher = await remotes.fetcher(ctx, name)
    await using body = await fetcher.fetch(ctx, wanted)
    const pieces: Uint8Array[] = []
    let size = 0
    for await (const piece of body) {
      size += piece.length
      if (size > atMost) throw new Error(`${wanted.digest} has more than ${atMost} bytes`)
      pieces.push(piece)
    }
    const bytes = Buffer.concat(pieces)
    if (isAlgorithm(algorithm) && digestOf(bytes, algorithm) === wanted.digest) return bytes
    throw new Error(`what the registry sends for ${wanted.digest} is something else`)
  }

  /** @throws as `read`; Error when it is no image manifest. */
  async manifest(ctx: Context, wanted: Descriptor): Promise<SignatureManifest> {
    // Whatever the registry calls it, it is asked for as a manifest.
    const named = { ...wanted, mediaType: wanted.mediaType || mediaTypes.ociManifest }
    const bytes = await this.read(ctx, named, mostManifestBytes)
    const { layers, subject } = parseObject(bytes, `manifest ${wanted.digest}`)
    return {
      digest: wanted.digest,
      layers: list(layers).slice(0, mostSignatures).map(toLayer),
      subject: text(record(subject)['digest']) || undefined,
    }
  }
}

function toLayer(value: unknown): Layer {
  const { mediaType, digest, size, annotations } = record(value)
  const texts = Object.entries(record(annotations)).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  )
  return {
    mediaType: text(mediaType),
    digest: text(digest),
    size: typeof size === 'number' ? size : 0,
    annotations: Object.fromEntries(texts),
  }
}
