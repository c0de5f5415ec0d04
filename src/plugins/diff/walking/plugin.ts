import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'

import { describe } from '#lib/errors/errors.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { DiffPlugin, MetadataPlugin, MountManagerPlugin } from '#plugins/types.ts'

import { WalkingDiffer } from './differ.ts'
import { removeLeftMounts } from './mounted.ts'

/** In `[timeouts]`: how long a stream processor may make nothing. */
const processorTimeout = 'io.containerd.timeout.diff.processor'

/** `io.containerd.differ.v1.walking`. */
export const walkingPlugin = definePlugin({
  type: DiffPlugin,
  id: 'walking',
  requires: { metadata: MetadataPlugin, mounts: MountManagerPlugin },
  async init({ ctx, daemon, deps, meta }) {
    meta.platforms.push(`linux/${process.arch === 'x64' ? 'amd64' : process.arch}`)
    const tempDir = join(daemon.root, 'tmpmounts')
    await mkdir(tempDir, { recursive: true, mode: 0o700 })
    removeLeftMounts(tempDir, (path, err) => {
      ctx.log.warn('cannot clean up a temporary mount', { path, error: describe(err) })
    })
    return new WalkingDiffer(deps.metadata.content, {
      tempDir,
      mounts: deps.mounts,
      workers: 2,
      processing: () => ({
        processors: daemon.settings.streamProcessors(),
        idleMs: daemon.settings.timeout(processorTimeout),
      }),
    })
  },
})
