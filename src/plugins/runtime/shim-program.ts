import { extname } from 'node:path'

import { fromBinary, toBinary, create } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'

import type { Any } from '#core/any/any.ts'
import { type Context, withTimeout } from '#core/context.ts'
import { spawnHost } from '#core/runtime/host-process.ts'
import type { Exit } from '#core/runtime/runtime.ts'
import { DeleteResponseSchema } from '#gen/shim/task-v3_pb.ts'

import { type Endpoint, encodeStart, parseStartReply } from './bootstrap.ts'
import type { Bundle } from './bundle.ts'
import { type Output, runProgram } from './run-program.ts'
import type { RuntimeSettings } from './settings.ts'
import type { ShimVersions } from './shim-version.ts'
import { toTimestamp } from './wire.ts'

/*
 * A shim's program is called
 *
 *   <shim> -namespace NS -address GRPC -publish-binary DAEMON -id ID [-bundle PATH] start|delete
 *
 * in the bundle, with TTRPC_ADDRESS and others in the environment. Source: upstream `pkg/shim`.
 */

const infoMs = 10_000

/** What may be waited for, as in `[timeouts]`. */
export type ShimTimeout = 'shim.cleanup' | 'shim.load' | 'shim.shutdown' | 'task.state'

/** What a shim is asked for that may take long, as in `[timeouts]`. */
export type ShimStage = 'create' | 'start' | 'exec' | 'kill' | 'delete'

/** The program of a shim, to be called for bundles. */
export class ShimProgram {
  readonly path: string
  readonly #settings: RuntimeSettings
  readonly #versions: ShimVersions

  constructor(path: string, settings: RuntimeSettings, versions: ShimVersions) {
    this.path = path
    this.#settings = settings
    this.#versions = versions
  }

  /** Whether it is this package's own: one process of it serves a whole namespace. */
  get builtin(): boolean {
    return this.path === this.#settings.hostBinary
  }

  /** Whether the daemon itself can start its process: it is a script of this package. */
  get startsAsHost(): boolean {
    return this.builtin && extname(this.path) === '.mjs'
  }

  /** How long to wait in ms, as the configuration of the daemon has it now. */
  timeout(name: ShimTimeout): number {
    return this.#settings.live.timeout(`io.containerd.timeout.${name}`)
  }

  /** How long a shim may take for a stage, in ms. */
  stageMs(stage: ShimStage): number {
    return this.#settings.live.timeout(`io.wharf.timeout.task.${stage}`)
  }

  /** Starts a shim, or finds the one that serves this bundle's group already. */
  async start(ctx: Context, bundle: Bundle, options: Any | undefined): Promise<Endpoint> {
    const { address, ttrpcAddress, daemonBinary, socketDir } = this.#settings
    const { id, namespace } = bundle
    const form = this.builtin ? 'params' : await this.#versions.formOf(this.path)
    const stdin = encodeStart(form, {
      id,
      namespace,
      address,
      ttrpcAddress,
      daemonBinary,
      socketDir,
      options,
    })
    const { stdout, stderr } = await this.#call(ctx, bundle, ['start'], stdin)
    if (stderr.length > 0) ctx.log.warn('shim said while starting', { id, text: String(stderr) })
    return parseStartReply(stdout.length > 0 ? stdout : stderr)
  }

  /**
   * Starts the built-in host at the unix socket `path`, unless one serves there; without the process
   * that `start` takes, which would do no more.
   */
  async startHost(ctx: Context, bundle: Bundle, path: string): Promise<Endpoint> {
    const { address, ttrpcAddress } = this.#settings
    await spawnHost({
      program: this.path,
      socket: path,
      namespace: bundle.namespace,
      grpcAddress: address,
      ttrpcAddress,
      env: this.#environment(bundle.namespace),
      bundle: bundle.path,
      signal: ctx.signal,
    })
    return { version: 3, address: `unix://${path}`, protocol: 'ttrpc' }
  }

  /** Ends and removes what is left of a container whose shim is gone; says how it ended. */
  async delete(ctx: Context, bundle: Bundle): Promise<Exit> {
    const { stdout, stderr } = await this.#call(ctx, bundle, ['-bundle', bundle.path, 'delete'])
    if (stderr.length > 0) {
      ctx.log.warn('warnings while cleaning up dead shim', { id: bundle.id, text: String(stderr) })
    }
    const { pid, exitStatus, exitedAt } = fromBinary(DeleteResponseSchema, stdout)
    return { pid, status: exitStatus, exitedAt: toTimestamp(exitedAt) }
  }

  /** What `-info` tells of the runtime: a `containerd.types.RuntimeInfo`. */
  async info(ctx: Context, options: Any | undefined): Promise<Any> {
    const stdin = options && toBinary(AnySchema, create(AnySchema, options))
    const { stdout } = await runProgram(this.path, {
      args: ['-info'],
      signal: withTimeout(ctx, infoMs).signal,
      ...(stdin === undefined ? {} : { stdin }),
    })
    return { typeUrl: 'containerd.types.RuntimeInfo', value: stdout }
  }

  async #call(
    ctx: Context,
    { id, namespace, path }: Bundle,
    action: readonly string[],
    stdin?: Uint8Array,
  ): Promise<Output> {
    const { address, daemonBinary } = this.#settings
    const flags = ['-namespace', namespace, '-address', address, '-publish-binary', daemonBinary]
    return await runProgram(this.path, {
      args: [...flags, '-id', id, ...action],
      cwd: path,
      env: this.#environment(namespace),
      signal: ctx.signal,
      ...(stdin === undefined ? {} : { stdin }),
    })
  }

  #environment(namespace: string): NodeJS.ProcessEnv {
    const { address, ttrpcAddress, socketDir, runcRoot, isolation } = this.#settings
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      ...variables(this.#settings.env ?? []),
      GOMAXPROCS: '2',
      MAX_SHIM_VERSION: '2',
      TTRPC_ADDRESS: ttrpcAddress,
      GRPC_ADDRESS: address,
      NAMESPACE: namespace,
    }
    if (!this.builtin) return env
    return {
      ...env,
      WHARF_SHIM_SOCKET_DIR: socketDir,
      WHARF_RUNC_ROOT: runcRoot,
      WHARF_SHIM_ISOLATION: isolation,
    }
  }
}

/** A variable without a value is one that is empty. */
const variables = (env: readonly string[]): NodeJS.ProcessEnv =>
  Object.fromEntries(env.map((each) => [each.split('=', 1)[0], each.replace(/^[^=]*=?/, '')]))
