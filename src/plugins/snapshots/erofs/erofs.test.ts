import { test } from 'node:test'

import { snapshotterSuite } from '#core/snapshots/testsuite.ts'
import { newContext } from '#testing/context.ts'

import { type ErofsOptions, ErofsSnapshotter } from './erofs.ts'
import { missingForErofs } from './probe.ts'

const plain: ErofsOptions = {
  overlayOptions: [],
  immutable: false,
  writableBytes: 0,
  verity: 'auto',
  remapIds: true,
}

const missing = missingForErofs()
if (missing !== undefined) test('erofs snapshotter', { skip: missing })

for (const [name, options] of [
  ['erofs', plain],
  [
    'erofs-files',
    { ...plain, verity: 'off', overlayOptions: ['index=off'], writableBytes: 8 << 20 },
  ],
] as const) {
  if (missing !== undefined) break
  snapshotterSuite(name, newContext, (ctx, root) => ErofsSnapshotter.open(ctx, root, options), {
    rebase: true,
    packs: true,
    depth: 30,
    inFile: options.writableBytes > 0,
  })
}
