import { EventEmitter } from 'node:events'

import type { Context, Logger } from '#core/context.ts'
import { describe, failedPrecondition } from '#lib/errors/errors.ts'
import { openTracing, type Tracing } from '#lib/otel/tracing.ts'
import { type PluginSet, start } from '#plugin/graph.ts'
import { withProxies } from '#plugins/proxy/plugins.ts'
import { ServerPlugin, WarningPlugin } from '#plugins/types.ts'

import type { Config } from './config/config.ts'
import { type Changes, compareConfigs } from './config/live.ts'
import { servers } from './config/migrate-servers.ts'
import { noteDeprecations } from './deprecations.ts'
import { makeDirectories } from './directories.ts'
import { LiveSettings } from './live-settings.ts'
import { version } from './version.ts'

/** Without these there is nothing to serve, or nobody to serve it: their failure is the daemon's. */
const essential: readonly string[] = ['io.containerd.metadata.v1.bolt', servers.grpc]

export interface ServerOptions {
  readonly log: Logger
}

/** What a server says of itself. */
export interface ServerEvents {
  /** Every socket accepts calls. */
  booted: []
  /** Every plugin has stopped; with the reason of a start that failed. */
  stopped: [error?: unknown]
}

/** A daemon in this process. */
export interface DaemonServer extends AsyncDisposable {
  readonly events: EventEmitter<ServerEvents>
  /** What it runs with; `reload` changes it. */
  readonly config: Config
  /** The plugin that a stop is at, by URI. */
  readonly stopping: string | undefined
  /**
   * Starts every plugin and serves. A server starts once; one that is stopped meanwhile does not serve.
   *
   * @throws `failed_precondition` when it has been started; whatever a plugin fails with without which
   * there is no daemon, and then everything has been stopped again.
   */
  start(): Promise<void>
  /**
   * Applies what can be applied while it runs, and says what waits for a restart.
   *
   * @throws whatever a plugin says against its new section; then nothing has changed.
   */
  reload(config: Config): Promise<Changes>
  /** Stops every plugin, newest first; containers go on. Also cuts a start short. */
  stop(reason?: string): Promise<void>
}

/**
 * A daemon that can be started and stopped, in this process: what `wharfd` runs, and what a program
 * holds that wants one of its own.
 *
 *     await using server = createServer(configure({ version: 4, root, state, plugins }, builtins), { log })
 *     await server.start()
 */
export const createServer = (config: Config, options: ServerOptions): DaemonServer =>
  new EmbeddedServer(config, options)

class EmbeddedServer implements DaemonServer {
  readonly events = new EventEmitter<ServerEvents>()
  readonly #settings: LiveSettings
  readonly #ctx: Context
  readonly #stop = new AbortController()
  readonly #serving = Promise.withResolvers<void>()
  #config: Config
  #set: PluginSet | undefined
  #stoppingSet: PluginSet | undefined
  #tracing: Tracing | undefined
  #starting: Promise<void> | undefined
  #stopping: Promise<void> | undefined
  /** Reloads are one after the other. */
  #reloading: Promise<unknown> = Promise.resolve()

  constructor(config: Config, { log }: ServerOptions) {
    this.#config = config
    this.#settings = new LiveSettings(config)
    this.#ctx = { signal: this.#stop.signal, log }
  }

  get config(): Config {
    return this.#config
  }

  get stopping(): string | undefined {
    return this.#stoppingSet?.stopping
  }

  async start(): Promise<void> {
    if (this.#starting) throw failedPrecondition('the server has been started before')
    this.#starting = this.#boot()
    try {
      await this.#starting
    } catch (err) {
      // A start that is cut short fails in whatever it was at.
      const isCut = this.#stop.signal.aborted
      this.#stopping ??= Promise.resolve()
      this.events.emit('stopped', ...(isCut ? [] : [err]))
      if (!isCut) throw err
      return
    }
    this.events.emit(this.#set ? 'booted' : 'stopped')
  }

  async stop(reason = 'stop'): Promise<void> {
    this.#stopping ??= this.#end(reason)
    await this.#stopping
  }

  async reload(config: Config): Promise<Changes> {
    const reloading = this.#reloading.then(async () => await this.#apply(config))
    this.#reloading = reloading.catch(() => {})
    return await reloading
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #boot(): Promise<void> {
    const began = performance.now()
    const { log, signal } = this.#ctx
    const { root, state } = this.#config
    log.info('starting wharfd', { version, root, state })
    makeDirectories(this.#config)
    await using scope = new AsyncDisposableStack()
    const tracing = await openOwnTracing(log)
    if (tracing) scope.use(tracing)
    const ctx = { ...this.#ctx, trace: tracing?.trace }
    const plugins = withProxies(this.#config.available, this.#config.proxyPlugins, log)
    const set = scope.use(await start(ctx, plugins, this.#startOptions()))
    for (const warnings of set.all(WarningPlugin).values()) {
      noteDeprecations(this.#config, warnings)
    }
    for (const server of set.all(ServerPlugin).values()) {
      if (!signal.aborted) await server.listen(this.#ctx)
    }
    if (signal.aborted) return
    const seconds = (performance.now() - began) / 1000
    this.#serving.resolve()
    log.info(`containerd successfully booted in ${seconds.toFixed(6)}s`)
    scope.move()
    this.#set = set
    this.#tracing = tracing
  }

  #startOptions() {
    const { root, state, address, ttrpcAddress, requiredPlugins, disabledPlugins } = this.#config
    const needed = essential.filter((uri) => !disabledPlugins.includes(uri))
    const required = [...requiredPlugins, ...needed]
    const serving = this.#serving.promise
    const daemon = { root, state, address, ttrpcAddress, settings: this.#settings, serving }
    return { configs: this.#config.plugins, daemon, disabled: disabledPlugins, required }
  }

  async #end(reason: string): Promise<void> {
    this.#stop.abort(reason)
    await Promise.allSettled([this.#starting, this.#reloading])
    const set = this.#set
    if (set === undefined) return
    this.#set = undefined
    this.#stoppingSet = set
    this.#ctx.log.info('stopping', { reason })
    await set[Symbol.asyncDispose]()
    await this.#tracing?.[Symbol.asyncDispose]()
    this.events.emit('stopped')
  }

  /** Plugins first, as they may refuse; what they have taken is taken back then. */
  async #apply(read: Config): Promise<Changes> {
    const changes = compareConfigs(this.#config, read)
    const done: string[] = []
    try {
      for (const [uri, section] of changes.sections) {
        await this.#set?.reload(this.#ctx, uri, section)
        done.push(uri)
      }
    } catch (err) {
      for (const uri of done) await this.#restore(uri)
      throw err
    }
    this.#config = changes.running
    this.#settings.apply(changes.running)
    return changes
  }

  async #restore(uri: string): Promise<void> {
    const section = this.#config.plugins.get(uri)
    try {
      if (section) await this.#set?.reload(this.#ctx, uri, section)
    } catch (err) {
      this.#ctx.log.error('cannot restore settings', { plugin: uri, error: describe(err) })
    }
  }
}

/** What keeps it from working is said once; containers run without it as well. */
async function openOwnTracing(log: Logger): Promise<Tracing | undefined> {
  try {
    return await openTracing(process.env, {
      service: 'wharfd',
      version,
      complain: (error, spans) => log.warn('spans are lost', { error, spans }),
    })
  } catch (err) {
    log.warn('nothing is traced', { error: describe(err) })
    return undefined
  }
}
