import type { ManifestEntry } from '#core/images/oci.ts'
import {
  anyPlatform,
  bestOf,
  onlyPlatform,
  orderedPlatforms,
  type PlatformMatcher,
  suitingOf,
} from '#core/platforms/match.ts'
import { formatWholePlatform, type Platform } from '#core/platforms/platforms.ts'
import type { ImageTarget } from '#core/transfer/transfer.ts'

type SelectionOptions = Pick<ImageTarget, 'platforms' | 'allMetadata' | 'manifestLimit'>

/**
 * Which parts of an image are loaded. Source: upstream `core/transfer/image/imagestore.go`, `ImageFilter`.
 *
 * An index that has nothing for a platform that is wanted, but something that machines of that
 * platform run, gives the best of that: there containerd loads an image of nothing.
 */
export class Selection {
  readonly #platforms: readonly Platform[]
  readonly #matcher: PlatformMatcher
  readonly #allMetadata: boolean
  readonly #limit: number

  constructor({ platforms = [], allMetadata = false, manifestLimit = 0 }: SelectionOptions) {
    this.#platforms = platforms
    this.#matcher = platforms.length > 0 ? orderedPlatforms(platforms) : anyPlatform
    this.#allMetadata = allMetadata
    this.#limit = manifestLimit
  }

  /** What is followed of an index. */
  ofIndex(entries: readonly ManifestEntry[]): readonly ManifestEntry[] {
    const wanted = this.#allMetadata ? entries : this.#suiting(entries)
    if (this.#limit === 0) return wanted
    const best = new Set(bestOf(wanted, this.#matcher))
    return [...best, ...wanted.filter((entry) => !best.has(entry))].slice(0, this.#limit)
  }

  /** Whether the layers of a manifest are loaded, too. */
  wantsLayers({ platform }: ManifestEntry): boolean {
    return !platform || this.#matcher.matches(platform) || !this.#allMetadata
  }

  /** What to say when an index has nothing that is wanted. */
  nothingIn(digest: string, entries: readonly ManifestEntry[]): string {
    const known = entries.flatMap(({ platform }) => platform ?? [])
    const has = [...new Set(known.map(formatWholePlatform))].filter((name) => !isNone(name))
    const wanted = this.#platforms.map(formatWholePlatform).join(' or ')
    return `no match for platform in manifest ${digest}: wanted is ${wanted}, and it has ${has.join(', ') || 'none'}`
  }

  #suiting(entries: readonly ManifestEntry[]): readonly ManifestEntry[] {
    const exact = suitingOf(entries, this.#matcher)
    if (exact.some(({ platform }) => platform)) return exact
    const running = this.#platforms.flatMap(
      (platform) => bestOf(entries, onlyPlatform(platform)).find((entry) => entry.platform) ?? [],
    )
    return [...new Set([...running, ...exact])]
  }
}

/** What BuildKit calls the platform of what is no image. */
const isNone = (platform: string): boolean => platform.startsWith('unknown')
