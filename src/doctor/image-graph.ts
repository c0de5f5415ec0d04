import { readFile, stat } from 'node:fs/promises'

import { chainIds } from '#core/images/chain-id.ts'
import type { Descriptor } from '#core/images/images.ts'
import {
  isConfig,
  isIndex,
  isLayer,
  isManifest,
  type Manifest,
  type ManifestEntry,
  parseConfig,
  parseIndex,
  parseManifest,
} from '#core/images/oci.ts'
import { referenceLabels } from '#core/images/reference-labels.ts'
import type { Labels } from '#core/labels/labels.ts'
import { onlyPlatform } from '#core/platforms/match.ts'
import { hostPlatform, type Platform } from '#core/platforms/platforms.ts'
import { digestOf, parseDigest } from '#lib/digest/digest.ts'
import { describe } from '#lib/errors/errors.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'
import { blobPath } from '#plugins/content/local/layout.ts'

import type { Namespace } from './catalog.ts'

/** A blob that an image consists of. */
export interface Part {
  readonly namespace: string
  readonly image: string
  readonly role: 'index' | 'manifest' | 'config' | 'layer'
  readonly descriptor: Descriptor
  /** Whether it is for another kind of machine than this. */
  readonly foreign: boolean
  /** Of a layer and a config, the snapshot it is unpacked to. */
  chainId: string
  /** Labels by which a record of it keeps the other parts from the collector. */
  holds: Labels
}

/** A layer on those below it: what a snapshot named by `chainId` has in it. */
export interface ChainLayer {
  readonly chainId: string
  /** Chain ID of the layers below; empty for none. */
  readonly parent: string
  readonly diffId: string
  /** Blobs that are this layer, compressed one way or the other. */
  readonly blobs: Descriptor[]
  readonly images: Set<string>
}

/** What is wrong with a blob that an image needs to be understood. */
export interface Fault {
  readonly part: Part
  readonly why: string
}

/** What images consist of, as far as their manifests can be read. */
export interface ImageGraph {
  readonly parts: readonly Part[]
  readonly faults: readonly Fault[]
  /** Layers by chain ID. */
  readonly chains: ReadonlyMap<string, ChainLayer>
}

/** More than any real index, manifest or config has, in bytes. */
const maxJsonBytes = 16 << 20
/** How deep indexes may lie in indexes. */
const maxDepth = 4
/** What this machine runs. */
const here = onlyPlatform(hostPlatform)

/** Follows every image of `namespaces` down to its layers, in the store at `content`. */
export async function readImages(
  content: string,
  namespaces: readonly Namespace[],
  signal: AbortSignal,
): Promise<ImageGraph> {
  const walk = new Walk(content)
  for (const namespace of namespaces) {
    for (const { name, target } of namespace.images) {
      signal.throwIfAborted()
      await walk.image(namespace, name, target)
    }
  }
  return walk
}

/** Whose image it is of which a part is looked at. */
interface Owner {
  readonly namespace: Namespace
  readonly image: string
  readonly foreign: boolean
}

class Walk implements ImageGraph {
  readonly parts: Part[] = []
  readonly faults: Fault[] = []
  readonly chains = new Map<string, ChainLayer>()
  readonly #content: string

  constructor(content: string) {
    this.#content = content
  }

  async image(namespace: Namespace, image: string, target: Descriptor): Promise<void> {
    await this.#follow({ namespace, image, foreign: false }, target, 0)
  }

  async #follow(owner: Owner, target: ManifestEntry, depth: number): Promise<void> {
    const index = isIndex(target.mediaType)
    if (!index && !isManifest(target.mediaType)) {
      // Not an image that runs; what it points to must be there all the same.
      this.#add(owner, 'manifest', target)
      return
    }
    const part = this.#add(owner, index ? 'index' : 'manifest', target)
    if (index) {
      const entries = await this.#parsed(part, parseIndex)
      if (entries && depth < maxDepth) await this.#index(owner, part, entries, depth)
    } else {
      const manifest = await this.#parsed(part, parseManifest)
      if (manifest) await this.#manifest(owner, part, manifest)
    }
  }

  /** An image is fetched for some platforms: only of those that are there all must be there. */
  async #index(
    owner: Owner,
    part: Part,
    entries: readonly ManifestEntry[],
    depth: number,
  ): Promise<void> {
    const there: ManifestEntry[] = []
    for (const entry of entries) if (await this.#isHere(owner, entry.digest)) there.push(entry)
    const suits = (platform: Platform | undefined): boolean => !platform || here.matches(platform)
    // None at all is one too few.
    const wanted = there.length > 0 ? there : entries.filter(({ platform }) => suits(platform))
    part.holds = referenceLabels(wanted)
    for (const entry of wanted) {
      const foreign = owner.foreign || !suits(entry.platform)
      await this.#follow({ ...owner, foreign }, entry, depth + 1)
    }
  }

  async #manifest(owner: Owner, part: Part, { config, layers }: Manifest): Promise<void> {
    part.holds = referenceLabels([config, ...layers])
    const configPart = this.#add(owner, 'config', config)
    const parsed = isConfig(config.mediaType)
      ? await this.#parsed(configPart, parseConfig)
      : undefined
    const diffIds = parsed?.diffIds.length === layers.length ? parsed.diffIds : []
    const chain = chainIds(diffIds)
    configPart.chainId = chain.at(-1) ?? ''
    for (const [index, layer] of layers.entries()) {
      const chainId = isLayer(layer.mediaType) ? (chain[index] ?? '') : ''
      this.#add(owner, 'layer', layer, chainId)
      if (chainId === '') continue
      const known = this.chains.getOrInsertComputed(chainId, () => ({
        chainId,
        parent: chain[index - 1] ?? '',
        diffId: diffIds[index] ?? '',
        blobs: [],
        images: new Set(),
      }))
      known.images.add(owner.image)
      if (!known.blobs.some(({ digest }) => digest === layer.digest)) known.blobs.push(layer)
    }
  }

  #add(owner: Owner, role: Part['role'], descriptor: Descriptor, chainId = ''): Part {
    const { namespace, image, foreign } = owner
    const name = namespace.name
    const part = { namespace: name, image, role, descriptor, foreign, chainId, holds: {} }
    this.parts.push(part)
    return part
  }

  async #isHere(owner: Owner, digest: string): Promise<boolean> {
    if (owner.namespace.blobs.has(digest)) return true
    return await isFile(blobPath(this.#content, digest, 'doctor'))
  }

  /** What `parse` makes of a blob; undefined when it is missing, or not what it should be. */
  async #parsed<T>(part: Part, parse: (bytes: Uint8Array) => T): Promise<T | undefined> {
    const { digest } = part.descriptor
    try {
      const path = blobPath(this.#content, digest, 'doctor')
      if ((await stat(path)).size > maxJsonBytes) throw new Error(`more than ${maxJsonBytes} bytes`)
      const bytes = await readFile(path)
      if (digestOf(bytes, parseDigest(digest).algorithm) !== digest) throw new Error('damaged')
      return parse(bytes)
    } catch (err) {
      if (!hasErrno(err, 'ENOENT')) this.faults.push({ part, why: describe(err) })
      return undefined
    }
  }
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile()
  } catch (err) {
    if (hasErrno(err, 'ENOENT')) return false
    throw err
  }
}
