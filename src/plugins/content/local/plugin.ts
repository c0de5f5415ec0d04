import { definePlugin } from '#plugin/plugin.ts'
import { ContentPlugin } from '#plugins/types.ts'

import { LocalStore } from './local-store.ts'

/** Where blobs are kept, for all namespaces. */
export const contentPlugin = definePlugin({
  type: ContentPlugin,
  id: 'content',
  init({ ctx, rootDir, meta }) {
    meta.exports['root'] = rootDir
    return LocalStore.open(ctx, rootDir)
  },
})
