import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'

import { aloneAnnotation, comingCapability } from '#core/diff/diff.ts'
import { describe } from '#lib/errors/errors.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { DiffPlugin, MetadataPlugin, MountManagerPlugin } from '#plugins/types.ts'

import { WalkingDiffer } from './differ.ts'
import { removeLeftMounts } from './mounted.ts'

/** In `[timeouts]`: how long a stream processor may make nothing. */
const processorTimeout = 'io.containerd.timeout.diff.processor'

/** `[plugins."io.containerd.differ.v1.walking"]` in config.toml; containerd has none of these. */
export interface WalkingConfig {
  /** The largest a layer may become, in bytes; 0 for any. */
  readonly maxLayerBytes: number
  /** How many times its own size a layer may become, from 1 GiB on; 0 for any. */
  readonly maxExpansionRatio: number
  /** How many files, directories, links and whiteouts a layer may have; 0 for any. */
  readonly maxLayerEntries: number
}

/**
 * A bomb is nothing but repetition, of which gzip makes 1032 times as much and zstd more. Half of what gzip can do
 * is out of reach for a layer of more than 1 GiB in which a few thousandths are something else: 2 MiB in each GiB. A
 * layer that is all empty disk image has to raise it. Whoever wants a bound for what is less plain sets the bytes.
 */
export const walkingDefaults: WalkingConfig = {
  maxLayerBytes: 0,
  maxExpansionRatio: 500,
  maxLayerEntries: 10_000_000,
}

/** `io.containerd.differ.v1.walking`. */
export const walkingPlugin = definePlugin({
  type: DiffPlugin,
  id: 'walking',
  requires: { metadata: MetadataPlugin, mounts: MountManagerPlugin },
  config: walkingDefaults,
  describe: {
    maxLayerBytes: 'The largest a layer may become, in bytes; 0 for any.',
    maxExpansionRatio:
      'How many times its own size a layer may become, from 1 GiB on; 0 for any. gzip can do 1032.',
    maxLayerEntries: 'How many files, links and whiteouts a layer may have; 0 for any.',
  },
  async init({ ctx, config, daemon, deps, meta }) {
    meta.platforms.push(`linux/${process.arch === 'x64' ? 'amd64' : process.arch}`)
    meta.capabilities.push(aloneAnnotation, comingCapability)
    const tempDir = join(daemon.root, 'tmpmounts')
    await mkdir(tempDir, { recursive: true, mode: 0o700 })
    removeLeftMounts(tempDir, (path, err) => {
      ctx.log.warn('cannot clean up a temporary mount', { path, error: describe(err) })
    })
    return new WalkingDiffer(deps.metadata.content, {
      tempDir,
      mounts: deps.mounts,
      workers: 2,
      limits: {
        maxBytes: config.maxLayerBytes,
        maxRatio: config.maxExpansionRatio,
        maxEntries: config.maxLayerEntries,
      },
      processing: () => ({
        processors: daemon.settings.streamProcessors(),
        idleMs: daemon.settings.timeout(processorTimeout),
      }),
    })
  },
})
