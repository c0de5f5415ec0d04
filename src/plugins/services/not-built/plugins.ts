import { type Plugin, SkipPlugin, definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin } from '#plugins/types.ts'

/** containerd's ids of APIs that wharf does not have yet. */
const ids = ['cri'] as const

/**
 * Stand where an API will be, so that `ctr plugins ls` tells that it is missing and why. The servers
 * answer its calls with `unimplemented`.
 */
export const notBuiltPlugins: readonly Plugin[] = ids.map((id) =>
  definePlugin({
    type: ApiPlugin,
    id,
    init() {
      throw new SkipPlugin('not built yet in wharf')
    },
  }),
)
