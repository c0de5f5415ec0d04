import type { Plugin } from '#plugin/plugin.ts'
import { grpcServerPlugin } from '#plugins/server/grpc/plugin.ts'

/** Everything this daemon is made of. A plugin that is not listed here does not exist. */
export const builtins: readonly Plugin[] = [grpcServerPlugin]
