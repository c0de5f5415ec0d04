import { isAbsolute, join, normalize } from 'node:path'

import type { Logger } from '#core/context.ts'
import { invalidArgument } from '#lib/errors/errors.ts'
import { definePlugin, pluginType } from '#plugin/plugin.ts'

import { Launcher } from './launcher.ts'
import type { RuntimeSettings } from './settings.ts'

/** What a socket's path has room for beside the name of a socket, as upstream has it. */
const longestSocketDir = 42

/** What tasks and sandboxes have in common: one launcher, so that they share their hosts. */
export class ShimManager {
  readonly env: readonly string[]
  readonly socketDir: string
  #launcher: Launcher | undefined

  constructor({ env, socketDir }: Pick<ShimManager, 'env' | 'socketDir'>) {
    this.env = env
    this.socketDir = socketDir
  }

  /** Makes the launcher; the configuration of the tasks holds for sandboxes too. */
  open(settings: RuntimeSettings, log: Logger): Launcher {
    this.#launcher = new Launcher(settings, log)
    return this.#launcher
  }

  /** That of the tasks, which start before. */
  get launcher(): Launcher {
    if (!this.#launcher) throw new Error('the tasks have not opened the launcher yet')
    return this.#launcher
  }
}

/** `[plugins."io.containerd.shim.v1.manager"]` in config.toml. */
export interface ShimConfig {
  readonly env: readonly string[]
  readonly socketDir: string
}

const defaults: ShimConfig = { env: [], socketDir: '' }

/** What starts shims. */
export const ShimPlugin = pluginType<ShimManager>('io.containerd.shim.v1')

/** `io.containerd.shim.v1.manager`. */
export const shimManagerPlugin = definePlugin({
  type: ShimPlugin,
  id: 'manager',
  config: defaults,
  describe: {
    env: 'More of the environment of shims, as NAME=value.',
    socketDir: 'Where shims put their sockets; s in the state directory unless given.',
  },
  init: ({ config: { env, socketDir }, daemon }) =>
    new ShimManager({ env, socketDir: checked(socketDir) || join(daemon.state, 's') }),
})

function checked(socketDir: string): string {
  if (socketDir === '') return ''
  if (!isAbsolute(socketDir)) {
    throw invalidArgument(`socket_dir must be an absolute path: ${JSON.stringify(socketDir)}`)
  }
  const clean = normalize(socketDir).replace(/(?<=.)\/$/, '')
  if (clean.length <= longestSocketDir) return clean
  throw invalidArgument(`socket_dir length must be no longer than ${longestSocketDir} characters`)
}
