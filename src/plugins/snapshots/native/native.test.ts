import { snapshotterSuite } from '#core/snapshots/testsuite.ts'
import { newContext } from '#testing/context.ts'

import { openNative } from './native.ts'

snapshotterSuite('native', newContext, (ctx, root) => openNative(ctx, root))
