import type { Plugin } from '#plugin/plugin.ts'

import { containersApiPlugin } from './containers/grpc.ts'
import { containersServicePlugin } from './containers/service.ts'
import { contentApiPlugin } from './content/grpc.ts'
import { contentServicePlugin } from './content/service.ts'
import { diffApiPlugin } from './diff/grpc.ts'
import { diffServicePlugin } from './diff/service.ts'
import { eventsApiPlugin } from './events/grpc.ts'
import { healthApiPlugin } from './healthcheck/grpc.ts'
import { imagesApiPlugin } from './images/grpc.ts'
import { imagesServicePlugin } from './images/service.ts'
import { introspectionApiPlugin } from './introspection/grpc.ts'
import { introspectionServicePlugin } from './introspection/service.ts'
import { leasesApiPlugin } from './leases/grpc.ts'
import { mountsApiPlugin } from './mounts/grpc.ts'
import { namespacesApiPlugin } from './namespaces/grpc.ts'
import { namespacesServicePlugin } from './namespaces/service.ts'
import { notBuiltPlugins } from './not-built/plugins.ts'
import { sandboxControllersApiPlugin } from './sandbox-controllers/grpc.ts'
import { sandboxesApiPlugin } from './sandboxes/grpc.ts'
import { snapshotsApiPlugin } from './snapshots/grpc.ts'
import { snapshotsServicePlugin } from './snapshots/service.ts'
import { streamingApiPlugin } from './streaming/grpc.ts'
import { tasksApiPlugin } from './tasks/grpc.ts'
import { tasksServicePlugin } from './tasks/service.ts'
import { transferApiPlugin } from './transfer/grpc.ts'
import { versionApiPlugin } from './version/grpc.ts'

/** Every service, and every API that translates one for clients. */
export const servicePlugins: readonly Plugin[] = [
  contentServicePlugin,
  snapshotsServicePlugin,
  imagesServicePlugin,
  containersServicePlugin,
  tasksServicePlugin,
  namespacesServicePlugin,
  diffServicePlugin,
  introspectionServicePlugin,
  containersApiPlugin,
  contentApiPlugin,
  diffApiPlugin,
  eventsApiPlugin,
  healthApiPlugin,
  imagesApiPlugin,
  introspectionApiPlugin,
  leasesApiPlugin,
  mountsApiPlugin,
  namespacesApiPlugin,
  sandboxControllersApiPlugin,
  sandboxesApiPlugin,
  snapshotsApiPlugin,
  streamingApiPlugin,
  tasksApiPlugin,
  transferApiPlugin,
  versionApiPlugin,
  ...notBuiltPlugins,
]
