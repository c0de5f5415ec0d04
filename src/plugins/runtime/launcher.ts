import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { fromBinary } from '@bufbuild/protobuf'

import type { Any } from '#core/any/any.ts'
import type { Context, Logger } from '#core/context.ts'
import { OptionsSchema } from '#gen/types/runc-options_pb.ts'
import { isErrno } from '#sys/errno.ts'

import {
  type Endpoint,
  guessEndpoint,
  hostPath,
  readEndpoint,
  writeEndpoint,
  writeLegacyAddress,
} from './bootstrap.ts'
import type { Bundle } from './bundle.ts'
import { Connections } from './connections.ts'
import { Hosts, type Started } from './hosts.ts'
import { resolveRuntime } from './runtime-binary.ts'
import type { RuntimeSettings } from './settings.ts'
import { openShimLog } from './shim-log.ts'
import { ShimProgram } from './shim-program.ts'
import { ShimVersions } from './shim-version.ts'
import { Shim } from './shim.ts'
import { Slots } from './slots.ts'

/** Where Go's shims have their sockets unless they are told otherwise, which older ones cannot be. */
const shimSocketDir = '/run/containerd/s'

/** How long the start of a host may keep other starts waiting, in ms. */
const slowMs = 1_000

/** How to come to a shim. */
interface Way {
  readonly program: ShimProgram
  /** Starts it, or finds the one that runs. */
  readonly start: () => Promise<Started>
  /** Whether it is the host of the namespace. */
  readonly grouped: boolean
}

/** How a shim is started. */
interface StartOptions {
  readonly options?: Any | undefined
  readonly grouped: boolean
  /** Where the built-in host is to serve, if that is known; else its program says where. */
  readonly socket?: string | undefined
}

/** Starts shims and finds those that run. */
export class Launcher implements AsyncDisposable {
  readonly #settings: RuntimeSettings
  readonly #log: Logger
  readonly #versions = new ShimVersions()
  readonly #connections = new Connections()
  readonly #hosts = new Hosts(this.#connections)
  readonly #hostPaths = new Map<string, string>()
  /** Each takes a processor for a while, which tasks that have a host need to be found again. */
  readonly #revivals = new Slots(availableParallelism())

  constructor(settings: RuntimeSettings, log: Logger) {
    this.#settings = settings
    this.#log = log
  }

  /** The shim's program for the name of a runtime. @throws {Error} when there is none. */
  program(runtime: string): ShimProgram {
    return this.#programAt(resolveRuntime(runtime, this.#settings))
  }

  /** The program that a bundle says its shim has; it may be gone, as far as `attach` cares. */
  programOf(path: string): ShimProgram {
    const { hostBinary } = this.#settings
    return this.#programAt(basename(path) === basename(hostBinary) ? hostBinary : path)
  }

  /** Starts a shim for a new bundle, or joins the host that its namespace has. */
  async start(
    ctx: Context,
    bundle: Bundle,
    program: ShimProgram,
    options: Any | undefined,
  ): Promise<Shim> {
    writeFileSync(join(bundle.path, 'shim-binary-path'), program.path, { mode: 0o600 })
    const grouped = program.builtin && this.#settings.isolation === 'namespace'
    const own = shimCgroupOf(options) !== ''
    const start =
      grouped && !own ? { grouped: true, socket: this.#hostPath(bundle) } : { grouped: false }
    const shim = await this.#start(ctx, bundle, program, { options, ...start })
    writeEndpoint(bundle.path, shim.endpoint)
    if (program.builtin) writeLegacyAddress(bundle.path, shim.endpoint)
    return shim
  }

  async #start(
    ctx: Context,
    bundle: Bundle,
    program: ShimProgram,
    { options, grouped, socket }: StartOptions,
  ): Promise<Shim> {
    const start = async (): Promise<Started> => {
      using scope = new DisposableStack()
      scope.use(openShimLog(bundle, this.#log))
      const endpoint =
        socket !== undefined && program.startsAsHost
          ? await program.startHost(ctx, bundle, socket)
          : await program.start(ctx, bundle, options)
      return { endpoint, scope: scope.move() }
    }
    return await this.#connect(ctx, bundle, { program, start, grouped })
  }

  /** Has the shim of a sandbox serve a new bundle too; nothing is started. */
  async join(
    ctx: Context,
    bundle: Bundle,
    program: ShimProgram,
    { sandbox, endpoint }: { readonly sandbox: string; readonly endpoint: Endpoint },
  ): Promise<Shim> {
    writeFileSync(join(bundle.path, 'shim-binary-path'), program.path, { mode: 0o600 })
    writeFileSync(join(bundle.path, 'sandbox'), sandbox, { mode: 0o600 })
    writeEndpoint(bundle.path, endpoint)
    return await this.attach(ctx, bundle, program)
  }

  /**
   * Connects to the host in the place of one that is gone, at the same socket; it goes on with its
   * containers and sandboxes.
   */
  async revive(ctx: Context, bundle: Bundle, program: ShimProgram): Promise<Shim> {
    const endpoint = this.#endpointOf(bundle)
    const grouped = this.#isShared(bundle, program, endpoint)
    const socket = hasShimCgroup(bundle) ? undefined : endpoint.address.replace(/^unix:\/\//, '')
    if (grouped) return await this.#start(ctx, bundle, program, { grouped, socket })
    const started = Promise.withResolvers<Shim>()
    await this.#revivals.run(async () => {
      started.resolve(this.#start(ctx, bundle, program, { grouped, socket }))
      await settledWithin(started.promise, slowMs)
    }, ctx.signal)
    return await started.promise
  }

  /** Connects to the shim of a bundle that was started earlier. @throws `unavailable` if it is gone. */
  async attach(ctx: Context, bundle: Bundle, program: ShimProgram): Promise<Shim> {
    const endpoint = this.#endpointOf(bundle)
    const find = (): Promise<Started> =>
      Promise.resolve({ endpoint, scope: openShimLog(bundle, this.#log) })
    const grouped = this.#isShared(bundle, program, endpoint)
    return await this.#connect(ctx, bundle, { program, start: find, grouped })
  }

  /** Whether it is the host of the namespace. */
  #isShared(bundle: Bundle, { builtin }: ShimProgram, { address }: Endpoint): boolean {
    return builtin && address === `unix://${this.#hostPath(bundle)}`
  }

  /** The socket of the host of a namespace. */
  #hostPath({ namespace }: Bundle): string {
    const { socketDir, address } = this.#settings
    const find = (): string => hostPath(socketDir, address, namespace)
    return this.#hostPaths.getOrInsertComputed(namespace, find)
  }

  #endpointOf(bundle: Bundle): Endpoint {
    try {
      return readEndpoint(bundle.path)
    } catch (err) {
      const { address, socketDir } = this.#settings
      const guess = guessEndpoint(address, bundle, [socketDir, shimSocketDir])
      if (!guess || !isErrno(err, 'ENOENT')) throw err
      writeEndpoint(bundle.path, guess)
      return guess
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#hosts[Symbol.asyncDispose]()
  }

  async #connect(ctx: Context, bundle: Bundle, { program, start, grouped }: Way): Promise<Shim> {
    const { namespace } = bundle
    await using scope = new AsyncDisposableStack()
    let endpoint: Endpoint | undefined
    if (grouped) endpoint = scope.use(await this.#hosts.join(ctx, namespace, start)).endpoint
    if (!endpoint) {
      const started = await start()
      if (started.scope) scope.use(started.scope)
      endpoint = started.endpoint
    }
    const lease = await this.#connections.acquire(ctx, endpoint, namespace)
    // The shim of a sandbox is not shut down by the tasks in it.
    const shared = grouped || existsSync(join(bundle.path, 'sandbox'))
    return new Shim({ bundle, program, endpoint, lease, grouped: shared, scope: scope.move() })
  }

  #programAt(path: string): ShimProgram {
    return new ShimProgram(path, this.#settings, this.#versions)
  }
}

/** Whether the host that a bundle had was in a control group of its own, which its program knows how to join. */
function hasShimCgroup({ path }: Bundle): boolean {
  try {
    const options: { readonly shim_cgroup?: string } = JSON.parse(
      readFileSync(join(path, 'options.json'), 'utf8'),
    )
    return (options.shim_cgroup ?? '') !== ''
  } catch {
    // Sandboxes have none.
    return false
  }
}

/** A host that shall be in a control group of its own is not the one that all others share. */
function shimCgroupOf(options: Any | undefined): string {
  if (options?.typeUrl.split('/').at(-1) !== OptionsSchema.typeName) return ''
  return fromBinary(OptionsSchema, options.value).shimCgroup
}

/** Resolves when `work` has ended, well or not, or after `ms`. */
async function settledWithin(work: Promise<unknown>, ms: number): Promise<void> {
  const stop = new AbortController()
  const late = sleep(ms, undefined, { signal: stop.signal }).catch(() => {})
  await Promise.race([Promise.allSettled([work]), late])
  stop.abort()
}
