import { aloneAnnotation, comingCapability, type Differ } from '#core/diff/diff.ts'
import { isConfig } from '#core/images/oci.ts'
import type { Metadata } from '#core/metadata/metadata.ts'
import { onlyPlatform, onlySystemOf, type PlatformMatcher } from '#core/platforms/match.ts'
import { hostPlatform, parsePlatform } from '#core/platforms/platforms.ts'
import { rebaseCapability, settleCapability } from '#core/snapshots/snapshotter.ts'
import type { UnpackTarget } from '#core/transfer/transfer.ts'
import type { UnpackPlace } from '#core/unpack/unpack.ts'
import { KeyedMutex } from '#lib/async/keyed-mutex.ts'
import { Semaphore } from '#lib/async/semaphore.ts'
import { notFound } from '#lib/errors/errors.ts'
import type { Meta } from '#plugin/plugin.ts'

import { type TransferConfig, type UnpackConfig, unpackConfigOf } from './config.ts'

export interface PlacesOptions {
  readonly config: TransferConfig
  readonly metadata: Pick<Metadata, 'content' | 'snapshotters'>
  readonly differs: ReadonlyMap<string, Differ>
  /** What plugins say of themselves; undefined for one that is not running. */
  readonly metaOf: (kind: 'snapshotter' | 'differ', id: string) => Meta | undefined
}

/** Finds where images are unpacked to. */
export type FindPlace = (target: UnpackTarget) => UnpackPlace | undefined

interface Configured {
  readonly suits: PlatformMatcher
  readonly place: UnpackPlace
}

/** Snapshots go there when nobody says where else. */
const defaultSnapshotter = 'overlayfs'
const defaultDiffer = 'walking'
/** How many layers of one image are extracted at once when the configuration sets no number for all together. */
const layersAtOnce = 4

/**
 * The places of `unpack_config`. Source: upstream `plugins/transfer/plugin.go`, `core/transfer/local/pull.go`.
 *
 * @throws `invalid_argument` for a platform that is none; `not_found` for a snapshotter or differ that is
 * not running and not optional.
 */
export function configuredPlaces(options: PlacesOptions): FindPlace {
  const shared = sharedBy(options.config)
  const configured = options.config.unpackConfig.flatMap(
    (table) => configure(options, unpackConfigOf(table), shared) ?? [],
  )
  return ({ platform = hostPlatform, snapshotter = '', configType }) => {
    const suiting = configured.filter(
      ({ suits, place }) => suits.matches(platform) && takesConfig(place, configType),
    )
    const named = (name: string): Configured | undefined =>
      suiting.find(({ place }) => place.snapshotterName === name)
    const found =
      snapshotter === '' ? (named(defaultSnapshotter) ?? suiting[0]) : named(snapshotter)
    return found?.place
  }
}

/** Any of an image suits a place that is for no type alone; where none is known, any place will do. */
const takesConfig = ({ configType: own }: UnpackPlace, given: string | undefined): boolean =>
  given === undefined || (own === undefined ? isConfig(given) : own === given)

/** What all places have in common. */
type Shared = Pick<UnpackPlace, 'locks' | 'turns'>

function sharedBy({ maxConcurrentUnpacks: most }: TransferConfig): Shared {
  const locks = new KeyedMutex()
  return most > 0 ? { locks, turns: new Semaphore(most) } : { locks }
}

function configure(
  { config, metadata, differs, metaOf }: PlacesOptions,
  unpack: UnpackConfig,
  shared: Shared,
): Configured | undefined {
  const platform = parsePlatform(unpack.platform)
  const snapshotter = metadata.snapshotters.get(unpack.snapshotter)
  const differName = unpack.differ || defaultDiffer
  const differ = differs.get(differName)
  if (!snapshotter || !differ) {
    if (unpack.optional) return undefined
    throw notFound(snapshotter ? `differ "${differName}"` : `snapshotter "${unpack.snapshotter}"`)
  }
  const { capabilities: ofSnapshotter = [], exports = {} } =
    metaOf('snapshotter', unpack.snapshotter) ?? {}
  const { capabilities: ofDiffer = [] } = metaOf('differ', differName) ?? {}
  const canRebase = ofSnapshotter.includes(rebaseCapability) && ofDiffer.includes(aloneAnnotation)
  const { enable_remote_snapshot_annotations: wantsSources } = exports
  return {
    suits: config.checkPlatformSupported ? onlyPlatform(platform) : onlySystemOf(platform),
    place: {
      content: metadata.content,
      differ,
      snapshotter,
      snapshotterName: unpack.snapshotter,
      wantsSources: wantsSources === 'true',
      canRebase: () => Promise.resolve(canRebase),
      settles: ofSnapshotter.includes(settleCapability),
      takesComing: ofDiffer.includes(comingCapability),
      ...(unpack.configType !== '' && { configType: unpack.configType }),
      layerTypes: unpack.layerTypes,
      atOnce: layersAtOnce,
      ...shared,
    },
  }
}
