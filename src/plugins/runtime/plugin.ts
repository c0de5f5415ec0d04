import { mkdirSync } from 'node:fs'
import { join } from 'node:path'

import { formatPlatform, hostPlatformName, parsePlatform } from '#core/platforms/platforms.ts'
import { invalidArgument } from '#lib/errors/errors.ts'
import { programPath } from '#lib/release/release.ts'
import { definePlugin } from '#plugin/plugin.ts'
import {
  EventPlugin,
  MountManagerPlugin,
  RuntimePlugin,
  SandboxControllerPlugin,
  SandboxStorePlugin,
} from '#plugins/types.ts'

import { ShimTaskManager } from './manager.ts'
import { OciRuntimes } from './oci-runtimes.ts'
import { type Isolation, isolations } from './settings.ts'
import { ShimPlugin } from './shim-plugin.ts'

/** `[plugins."io.containerd.runtime.v2.task"]` in config.toml. */
export interface TaskConfig {
  /** What the runtimes can run, as `os/arch`. */
  readonly platforms: readonly string[]
  /**
   * Whether `io.containerd.runc.v2` is answered by the built-in shim host, one process for all
   * containers of a namespace, instead of by `containerd-shim-runc-v2` from PATH.
   */
  readonly builtinShim: boolean
  /**
   * What runs the containers of the built-in shim host whose clients name no OCI runtime: a name, or
   * an absolute path. Empty for runc, or crun where there is no runc.
   */
  readonly ociRuntime: string
  /**
   * Which containers share a process of the built-in shim host: those of a `namespace`, of a
   * `sandbox` (as Go's shim has it), or none (`container`).
   */
  readonly isolation: string
}

const defaults: TaskConfig = {
  platforms: [hostPlatformName],
  builtinShim: true,
  ociRuntime: '',
  isolation: 'namespace',
}

/** When what there is to run containers with is looked at, after the start. */
const reportAfterMs = 500

/** Whose bundles are sandboxes. */
const sandboxControllerUri = `${SandboxControllerPlugin.name}.shim`

export const taskPlugin = definePlugin({
  type: RuntimePlugin,
  id: 'task',
  requires: {
    events: EventPlugin,
    mounts: MountManagerPlugin,
    shims: ShimPlugin,
    sandboxes: SandboxStorePlugin,
  },
  config: defaults,
  describe: {
    platforms: 'What the runtimes can run, as os/arch.',
    builtinShim:
      'Whether io.containerd.runc.v2 is answered by the built-in shim host instead of containerd-shim-runc-v2.',
    ociRuntime:
      'The OCI runtime of the built-in shim host, a name or a path, where clients name none; runc, or else crun, unless given.',
    isolation:
      'Which containers share a process of the built-in shim host: namespace, sandbox, or container for none.',
  },

  init({ ctx, config, rootDir, stateDir, meta, daemon, deps }) {
    meta.platforms.push(...config.platforms.map((text) => formatPlatform(parsePlatform(text))))
    meta.exports['log-uri-schemes'] =
      'fifo,binary,binary-v2,file' + (config.builtinShim ? ',json-file' : '')
    // 0711 lets a container's remapped root reach its bundle.
    for (const dir of [rootDir, stateDir]) mkdirSync(dir, { recursive: true, mode: 0o711 })
    const ociRuntimes = new OciRuntimes(config.ociRuntime)
    // Not while clients wait for the daemon.
    const report = setTimeout(() => void ociRuntimes.report(ctx), reportAfterMs).unref()
    ctx.signal.addEventListener('abort', () => clearTimeout(report))
    const settings = {
      root: rootDir,
      ociRuntimes,
      state: stateDir,
      mounts: deps.mounts,
      address: daemon.address,
      ttrpcAddress: daemon.ttrpcAddress,
      socketDir: deps.shims.socketDir,
      env: deps.shims.env,
      sandboxes: { store: deps.sandboxes, state: join(daemon.state, sandboxControllerUri) },
      runcRoot: join(daemon.state, 'runc'),
      serving: daemon.serving,
      live: daemon.settings,
      builtinShim: config.builtinShim,
      isolation: isolationOf(config.isolation),
      hostBinary: programPath('containerd-shim-wharf-v1.mjs'),
      daemonBinary: programPath('wharfd.mjs'),
    }
    const launcher = deps.shims.open(settings, ctx.log)
    return new ShimTaskManager(ctx, settings, deps.events, launcher)
  },
})

function isolationOf(text: string): Isolation {
  const found = isolations.find((each) => each === text)
  if (found === undefined) {
    throw invalidArgument(`isolation "${text}" is none of ${isolations.join(', ')}`)
  }
  return found
}
