import type { Context } from '#core/context.ts'
import type { ApplyOptions, CompareOptions, Differ } from '#core/diff/diff.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Mount } from '#core/mount/mount.ts'
import { hasCode, notFound, unimplemented } from '#lib/errors/errors.ts'
import { definePlugin, each } from '#plugin/plugin.ts'
import { DiffPlugin, DiffService, MetadataPlugin } from '#plugins/types.ts'

import { ApplyOnce } from './once.ts'

/** `[plugins."io.containerd.service.v1.diff-service"]` in config.toml. */
export interface DiffServiceConfig {
  /** Ids of the differs to ask, in order. The first that does not answer `unimplemented` decides. */
  readonly default: readonly string[]
  /**
   * Bring an applied layer to disk before the answer. A snapshot is durable when its commit
   * returns, whatever this says.
   */
  readonly syncFs: boolean
}

const defaults: DiffServiceConfig = { default: ['walking'], syncFs: false }

/** Several differs as one: each is asked until one knows the media type. */
export class OrderedDiffer implements Differ {
  readonly #differs: readonly Differ[]

  constructor(differs: readonly Differ[]) {
    this.#differs = differs
  }

  async apply(
    ctx: Context,
    layer: Descriptor,
    mounts: readonly Mount[],
    options?: ApplyOptions,
  ): Promise<Descriptor> {
    return await this.#firstOf((differ) => differ.apply(ctx, layer, mounts, options))
  }

  async compare(
    ctx: Context,
    lower: readonly Mount[],
    upper: readonly Mount[],
    options?: CompareOptions,
  ): Promise<Descriptor> {
    return await this.#firstOf((differ) => differ.compare(ctx, lower, upper, options))
  }

  async #firstOf(ask: (differ: Differ) => Promise<Descriptor>): Promise<Descriptor> {
    let refusal: unknown = unimplemented('no differ is configured')
    for (const differ of this.#differs) {
      try {
        return await ask(differ)
      } catch (err) {
        if (!hasCode(err, 'unimplemented')) throw err
        refusal = err
      }
    }
    throw refusal
  }
}

/** The differs that `names` lists. @throws `not_found` for one that is not loaded. */
function choose(differs: ReadonlyMap<string, Differ>, names: readonly string[]): Differ[] {
  return names.map((name) => {
    const differ = differs.get(name)
    if (!differ) throw notFound(`needed differ not loaded: ${name}`)
    return differ
  })
}

/** `io.containerd.service.v1.diff-service`. */
export const diffServicePlugin = definePlugin({
  type: DiffService,
  id: 'diff-service',
  requires: { differs: each(DiffPlugin), metadata: MetadataPlugin },
  config: defaults,
  describe: {
    default: 'Differs by id, in the order they are asked.',
    syncFs: 'Whether unpacked layers are written to disk before they count as unpacked.',
  },
  init: ({ config, deps }) =>
    new ApplyOnce(new OrderedDiffer(choose(deps.differs, config.default)), deps.metadata),
})
