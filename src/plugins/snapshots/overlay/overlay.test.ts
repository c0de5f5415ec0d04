import { snapshotterSuite } from '#core/snapshots/testsuite.ts'
import { newContext } from '#testing/context.ts'

import { OverlaySnapshotter } from './overlay.ts'

const plain = { asyncRemove: false, upperdirLabel: false, mountOptions: [] }
snapshotterSuite('overlay', newContext, (ctx, root) => OverlaySnapshotter.open(ctx, root, plain))
