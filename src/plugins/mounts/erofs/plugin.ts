import { definePlugin } from '#plugin/plugin.ts'
import { MountHandlerPlugin } from '#plugins/types.ts'

import { ErofsHandler } from './handler.ts'

/** `io.containerd.mount-handler.v1.erofs`. */
export const erofsHandlerPlugin = definePlugin({
  type: MountHandlerPlugin,
  id: 'erofs',
  init({ meta }) {
    meta.platforms.push(`linux/${process.arch === 'x64' ? 'amd64' : process.arch}`)
    return new ErofsHandler()
  },
})
