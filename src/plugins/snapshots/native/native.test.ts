import { snapshotterSuite } from '#core/snapshots/testsuite.ts'
import { newContext } from '#testing/context.ts'

import { NativeSnapshotter } from './native.ts'

snapshotterSuite('native', newContext, (ctx, root) => NativeSnapshotter.open(ctx, root))
