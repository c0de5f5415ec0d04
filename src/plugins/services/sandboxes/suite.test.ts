import { sandboxStoreSuite } from '#core/sandbox/testsuite.ts'
import { RemoteSandboxStore } from '#proxy/sandbox-store.ts'
import { newContext } from '#testing/context.ts'
import { testMetadata } from '#testing/metadata.ts'
import { serve } from '#testing/serve.ts'

import { sandboxesApi } from './grpc.ts'

sandboxStoreSuite('remote', newContext, async (ctx, root) => {
  const opened = await testMetadata(ctx, root)
  const served = await serve(ctx, [sandboxesApi(opened.metadata.sandboxes)], opened)
  return { ...served, store: new RemoteSandboxStore(served.connection) }
})
