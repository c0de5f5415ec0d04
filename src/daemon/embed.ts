/*
 * `wharfd/daemon`: a daemon in a program of one's own.
 *
 *     import { builtins, configure, createLogger, createServer } from 'wharfd/daemon'
 *
 *     const config = configure({ version: 4, root, state }, builtins)
 *     await using server = createServer(config, { log: createLogger(settings, process.stderr) })
 *     await server.start()
 *
 * Plugins of the program's own are made by the `definePlugin` that is here, and stand beside `builtins`.
 */

export * from '#plugins/api.ts'

export { builtins } from './builtins.ts'
export type { Config } from './config/config.ts'
export type { Changes } from './config/live.ts'
export { configure, loadConfig } from './config/load.ts'
export { createLogger, type LogSettings } from './log.ts'
export {
  createServer,
  type DaemonServer,
  type ServerEvents,
  type ServerOptions,
} from './server.ts'
