import type { Store } from '#core/content/content.ts'
import { contentSuite } from '#core/content/testsuite.ts'
import type { Context } from '#core/context.ts'
import { newContext } from '#testing/context.ts'
import { type TestMetadata, testMetadata } from '#testing/metadata.ts'

for (const policy of ['shared', 'isolated'] as const) {
  const open = async (ctx: Context, root: string): Promise<Store> =>
    owning(await testMetadata(ctx, root, { policy }))
  contentSuite(`${policy} metadata`, newContext, open, { labels: true })
}

/** The view of `opened`, which closes all of it. */
function owning(opened: TestMetadata): Store {
  const store = opened.metadata.content
  return {
    info: async (...args) => await store.info(...args),
    update: async (...args) => await store.update(...args),
    list: (...args) => store.list(...args),
    delete: async (...args) => await store.delete(...args),
    reader: async (...args) => await store.reader(...args),
    writer: async (...args) => await store.writer(...args),
    status: async (...args) => await store.status(...args),
    listStatuses: async (...args) => await store.listStatuses(...args),
    abort: async (...args) => await store.abort(...args),
    [Symbol.asyncDispose]: async () => await opened[Symbol.asyncDispose](),
  }
}
