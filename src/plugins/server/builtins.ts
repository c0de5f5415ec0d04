import type { Plugin } from '#plugin/plugin.ts'

import { auditPlugin } from './audit.ts'
import { debugServerPlugin } from './debug.ts'
import { grpcTcpServerPlugin } from './grpc-tcp.ts'
import { grpcServerPlugin } from './grpc.ts'
import { listenersPlugin } from './listeners.ts'
import { metricsServerPlugin } from './metrics.ts'
import { ttrpcServerPlugin } from './ttrpc.ts'

/** Everything that listens, and what stands around the calls. */
export const serverPlugins: readonly Plugin[] = [
  auditPlugin,
  grpcServerPlugin,
  grpcTcpServerPlugin,
  listenersPlugin,
  ttrpcServerPlugin,
  metricsServerPlugin,
  debugServerPlugin,
]
