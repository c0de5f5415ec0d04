import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { snapshotterSuite } from '#core/snapshots/testsuite.ts'
import { openNative } from '#plugins/snapshots/native/native.ts'
import { OverlaySnapshotter } from '#plugins/snapshots/overlay/overlay.ts'
import { newContext } from '#testing/context.ts'
import { testMetadata } from '#testing/metadata.ts'
import { overriding } from '#testing/overriding.ts'

const overlay = { asyncRemove: true, upperdirLabel: true, mountOptions: [] }
const backends: Record<string, (ctx: Context, root: string) => Promise<Snapshotter>> = {
  native: async (ctx, root) => await openNative(ctx, root),
  overlayfs: async (ctx, root) => await OverlaySnapshotter.open(ctx, root, overlay),
}

for (const [name, openBackend] of Object.entries(backends)) {
  const open = async (ctx: Context, root: string): Promise<Snapshotter> => {
    const backend = await openBackend(ctx, join(root, name))
    const opened = await testMetadata(ctx, root, { snapshotters: new Map([[name, backend]]) })
    const view = opened.metadata.snapshotters.get(name)
    if (!view) throw new Error(`no view of ${name}`)
    return overriding(view, {
      [Symbol.asyncDispose]: async () => await opened[Symbol.asyncDispose](),
    })
  }
  snapshotterSuite(`${name}-metadata`, newContext, open, {
    rebase: name === 'overlayfs',
    settle: name === 'overlayfs',
    depth: 8,
  })
}
