import { definePlugin } from '#plugin/plugin.ts'
import { MetadataPlugin, StreamingPlugin } from '#plugins/types.ts'

import { OpenStreams } from './manager.ts'

/** `io.containerd.streaming.v1.manager`. */
export const streamManagerPlugin = definePlugin({
  type: StreamingPlugin,
  id: 'manager',
  requires: { metadata: MetadataPlugin },
  init({ deps }) {
    const streams = new OpenStreams()
    const registered = deps.metadata.registerCollectible(streams)
    const end = async (): Promise<void> => await Promise.resolve(registered[Symbol.dispose]())
    return Object.assign(streams, { [Symbol.asyncDispose]: end })
  },
})
