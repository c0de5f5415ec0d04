import { sandboxStoreSuite } from '#core/sandbox/testsuite.ts'
import { newContext } from '#testing/context.ts'
import { testMetadata } from '#testing/metadata.ts'

sandboxStoreSuite('recorded', newContext, async (ctx, root) => {
  const opened = await testMetadata(ctx, root)
  return { ...opened, store: opened.metadata.sandboxes }
})
