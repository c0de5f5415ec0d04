import type { Store } from '#core/content/content.ts'
import { contentSuite } from '#core/content/testsuite.ts'
import type { Context } from '#core/context.ts'
import { RemoteContentStore } from '#proxy/content.ts'
import { newContext } from '#testing/context.ts'
import { testMetadata } from '#testing/metadata.ts'
import { serve } from '#testing/serve.ts'

import { contentApi } from './grpc.ts'

/** A store on the other side of a connection, which goes with it. */
async function open(ctx: Context, root: string): Promise<Store> {
  const opened = await testMetadata(ctx, root)
  const served = await serve(ctx, [contentApi(opened.metadata.content)], opened)
  const store = new RemoteContentStore(served.connection)
  return Object.assign(store, {
    [Symbol.asyncDispose]: async () => await served[Symbol.asyncDispose](),
  })
}

contentSuite('remote', newContext, open, { labels: true })
