import type { Store } from '#core/content/content.ts'
import { contentSuite } from '#core/content/testsuite.ts'
import type { Context } from '#core/context.ts'
import { newContext } from '#testing/context.ts'
import { overridingStore } from '#testing/overriding.ts'
import { type TestMetadata, testMetadata } from '#testing/metadata.ts'

for (const policy of ['shared', 'isolated'] as const) {
  const open = async (ctx: Context, root: string): Promise<Store> =>
    owning(await testMetadata(ctx, root, { policy }))
  contentSuite(`${policy} metadata`, newContext, open, { labels: true, appends: true })
}

/** The view of `opened`, which closes all of it. */
const owning = (opened: TestMetadata): Store =>
  overridingStore(opened.metadata.content, {
    [Symbol.asyncDispose]: async () => await opened[Symbol.asyncDispose](),
  })
