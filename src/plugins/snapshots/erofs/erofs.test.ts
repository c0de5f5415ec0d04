import { snapshotterSuite } from '#core/snapshots/testsuite.ts'
import { newContext } from '#testing/context.ts'

import { type ErofsOptions, ErofsSnapshotter } from './erofs.ts'

const plain: ErofsOptions = {
  overlayOptions: [],
  immutable: false,
  writableBytes: 0,
  verity: 'auto',
}

for (const [name, options] of [
  ['erofs', plain],
  ['erofs-options', { ...plain, verity: 'off', overlayOptions: ['index=off'] }],
] as const) {
  snapshotterSuite(name, newContext, (ctx, root) => ErofsSnapshotter.open(ctx, root, options), {
    rebase: true,
    packs: true,
  })
}
