import type { SandboxStore } from '#core/sandbox/store.ts'
import type { Settings } from '#plugin/settings.ts'

import type { OciRuntimes } from './oci-runtimes.ts'

export const isolations = ['namespace', 'sandbox', 'container'] as const
/** Which containers share a process of the built-in host: see `#shim/grouping.ts`. */
export type Isolation = (typeof isolations)[number]

/** What starting and finding shims depends on; the same for every task of a daemon. */
export interface RuntimeSettings {
  /** Where work directories are: `<root>/<namespace>/<id>`. */
  readonly root: string
  /** Where bundles are: `<state>/<namespace>/<id>`. */
  readonly state: string
  /** Path of the daemon's gRPC socket. */
  readonly address: string
  /** Path of the daemon's ttrpc socket, which shims send their events to. */
  readonly ttrpcAddress: string
  /** Where shims put their sockets. */
  readonly socketDir: string
  /** What shims are given in their environment beside the daemon's own, as `NAME=value`. */
  readonly env?: readonly string[]
  /** What runs the containers of the built-in host whose clients name nothing else; runc without. */
  readonly ociRuntimes?: OciRuntimes
  /** Where the shims of sandboxes are found that tasks join; without it tasks have shims of their own. */
  readonly sandboxes?: { readonly store: SandboxStore; readonly state: string } | undefined
  /** Where OCI runtimes keep their state, as far as the built-in host runs them. */
  readonly runcRoot: string
  /** Whether `io.containerd.runc.v2` means the built-in host. */
  readonly builtinShim: boolean
  /** Which containers share a built-in host; that of a namespace can be asked without `start`. */
  readonly isolation: Isolation
  /** Program of the built-in host. */
  readonly hostBinary: string
  /** Resolves when the daemon answers calls: shims are looked for afterwards. */
  readonly serving: Promise<void>
  /** What may change while the daemon runs. */
  readonly live: Pick<Settings, 'timeout'>
  /** Program of the daemon: shims of old call it to publish events. */
  readonly daemonBinary: string
}
