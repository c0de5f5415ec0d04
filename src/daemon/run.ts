import { once } from 'node:events'

import { describe } from '#lib/errors/errors.ts'
import { dump } from '#plugins/process/dump.ts'
import { serviceManager, type ServiceManager } from '#plugins/process/notify.ts'
import { takePlace } from '#plugins/process/place.ts'

import { loadCatalog } from './catalog.ts'
import type { Config, Overrides } from './config/config.ts'
import { decodeConfig, peekSettings } from './config/decode.ts'
import { loadConfig, readConfig } from './config/load.ts'
import { createLogger, type LiveLogger, logFormats, logLevels, type LogSettings } from './log.ts'
import { logNotices } from './notices.ts'
import { createServer, type DaemonServer } from './server.ts'

/** Where the configuration is from, to read it again. */
export interface Source {
  /** Of the config file; undefined for the default one, which may be absent. */
  readonly path: string | undefined
  readonly overrides: Overrides
}

/** How long a stop may take before the process ends anyway, in ms. */
const stopMs = 30_000

/**
 * Runs a daemon until SIGTERM or SIGINT; SIGHUP reads the configuration again. A second SIGTERM
 * while it stops ends the process at once.
 *
 * @throws whatever the configuration or the start fails with.
 */
export async function run(source: Source): Promise<void> {
  const read = await readConfig(source.path, source.overrides)
  const log = createLogger(logSettings(peekSettings(read)), process.stderr)
  const config = decodeConfig(read, await loadCatalog(read, log))
  process.umask(0o022)
  logNotices(log, config)
  const manager = serviceManager(log)
  await using server = createServer(config, { log })
  const stopped = once(server.events, 'stopped')
  server.events.once('booted', () => manager.ready())
  handleSignals(source, server, log, manager)
  takePlace({ oomScore: config.oomScore, cgroup: config.cgroup.path }, log)
  await server.start()
  await stopped
}

function handleSignals(
  source: Source,
  server: DaemonServer,
  log: LiveLogger,
  manager: ServiceManager,
): void {
  let stopping = false
  const stop = (name: string): void => {
    // Only what must be waited for is cut off: state on disk is right at any time.
    if (stopping) process.exit(1)
    stopping = true
    manager.stopping()
    setTimeout(() => {
      log.error('the stop takes too long; ending at once', { ms: stopMs, at: server.stopping })
      process.exit(1)
    }, stopMs).unref()
    server.stop(name).catch((err: unknown) => {
      log.error('the stop failed', { error: describe(err) })
      process.exit(1)
    })
  }
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, stop)
  process.on('SIGPIPE', () => {})
  process.on('SIGUSR1', () => void dump(log))
  process.on(
    'SIGHUP',
    oneAtATime(async () => {
      manager.reloading()
      await reload(source, server, log)
      manager.ready()
    }),
  )
}

/** Calls while `task` runs make it run once more, however many they are. `task` does not fail. */
function oneAtATime(task: () => Promise<void>): () => void {
  let running: Promise<void> | undefined
  let again = false
  const loop = async (): Promise<void> => {
    do {
      again = false
      await task()
    } while (again)
    running = undefined
  }
  return () => {
    again = running !== undefined
    running ??= loop()
  }
}

/** Reads the configuration again; one that is bad changes nothing. */
async function reload(source: Source, server: DaemonServer, log: LiveLogger): Promise<void> {
  try {
    const config = await loadConfig(source.path, server.config.available, source.overrides)
    const { applied, restart } = await server.reload(config)
    const say = (): void => log.info('configuration reloaded', { applied, restart })
    const next = logSettings(server.config)
    const isQuieter = logLevels.indexOf(next.level) > logLevels.indexOf('info')
    // What makes the log quieter is still said.
    if (isQuieter) say()
    log.configure(next)
    logNotices(log, { ...config, files: [], inertKeys: [] })
    if (!isQuieter) say()
  } catch (err) {
    log.error('the configuration was not reloaded', { error: describe(err) })
  }
}

/** Level and form of the log; what is empty is the default. */
export const logSettings = ({ debug }: Pick<Config, 'debug'>): LogSettings => ({
  level: logLevels.find((level) => level === debug.level) ?? 'info',
  format: logFormats.find((format) => format === debug.format) ?? 'text',
  traceId: debug.logTraceId,
})
