import { mkdirSync } from 'node:fs'
import { join } from 'node:path'

import type { Metadata } from '#core/metadata/metadata.ts'
import { openMetadata } from '#core/metadata/open.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { invalidArgument } from '#lib/errors/errors.ts'
import { definePlugin, each } from '#plugin/plugin.ts'
import { ContentPlugin, EventPlugin, MetadataPlugin, SnapshotPlugin } from '#plugins/types.ts'
import { tryLock } from '#sys/flock.ts'

import { eventEncoder } from './events.ts'

/** How long another daemon may take to let go of the file, in ms, unless the configuration says. */
const defaultLockMs = 1000

const directoryMode = 0o711
const fileMode = 0o644

/** The metadata of the daemon, in `meta.db`. */
export const metadataPlugin = definePlugin({
  type: MetadataPlugin,
  id: 'bolt',
  requires: { content: ContentPlugin, snapshotters: each(SnapshotPlugin), events: EventPlugin },
  config: {
    contentSharingPolicy: 'shared',
    noSync: false,
  },
  describe: {
    contentSharingPolicy:
      'shared: naming the digest of a blob is enough to have it in a namespace; isolated: it must be sent.',
    noSync:
      'Acknowledge writes before they are durable: faster, and a power cut can lose the file.',
  },
  async init({ ctx, config, rootDir, meta, daemon, deps }): Promise<Metadata> {
    const policy = policyOf(config.contentSharingPolicy)
    meta.exports['policy'] = policy
    ctx.log.info('metadata content store policy set', { policy })
    if (config.noSync) ctx.log.warn('using async mode for boltdb')
    const path = join(rootDir, 'meta.db')
    meta.exports['path'] = path
    mkdirSync(rootDir, { recursive: true, mode: directoryMode })
    await using scope = new AsyncDisposableStack()
    const { noSync } = config
    const { signal } = ctx
    // Zero, the default, waits without end in containerd; two daemons on one root is an error here.
    const lockTimeoutMs =
      daemon.settings.timeout('io.containerd.timeout.bolt.open') || defaultLockMs
    const database = scope.use(
      await openDatabase(path, {
        signal,
        lockTimeoutMs,
        mode: fileMode,
        noSync,
        lock: tryLock,
        keepRoom: true,
      }),
    )
    const { content, snapshotters, events: publisher } = deps
    const options = { database, content, snapshotters, publisher, events: eventEncoder, policy }
    const metadata = await openMetadata(ctx, options)
    scope.move()
    return metadata
  },
})

function policyOf(text: string): 'shared' | 'isolated' {
  if (text === 'shared' || text === 'isolated') return text
  throw invalidArgument(`unknown policy: ${text}`)
}
