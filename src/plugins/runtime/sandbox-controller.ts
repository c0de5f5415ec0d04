import type { Any } from '#core/any/any.ts'
import { type Context, namespaceOf } from '#core/context.ts'
import type {
  Sandbox,
  SandboxController,
  SandboxCreateOptions,
  SandboxExit,
  SandboxInstance,
  SandboxPlatform,
  SandboxStatus,
} from '#core/sandbox/controller.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { alreadyExists, hasCode, notFound, unavailable, unimplemented } from '#lib/errors/errors.ts'
import { dateFromProto } from '#proxy/convert/timestamp.ts'

import { type Bundle, type BundleRoots, createBundle } from './bundle.ts'
import { removeBundle } from './end-shim.ts'
import type { Launcher } from './launcher.ts'
import { formatTaskApi } from './sandbox-endpoint.ts'
import { type SandboxParts, SandboxShims } from './sandbox-shims.ts'
import type { Shim } from './shim.ts'
import { partOf, toAny } from './wire.ts'

/** How long the program of a shim may take to start one. */
const startMs = 60_000
/** For what a shim answers from memory, unless it is stuck. */
const quickMs = 60_000

/**
 * Sandboxes that shims run: each has a bundle, and a shim that serves the sandbox API beside that of
 * tasks. They outlive this process like tasks, and the built-in host too: another one goes on with
 * them. Those that an earlier daemon has left are found again in the background.
 *
 * Source: upstream `plugins/sandbox/controller.go`.
 */
export class ShimSandboxController implements SandboxController, AsyncDisposable {
  readonly #ctx: Context
  readonly #roots: BundleRoots
  readonly #launcher: Launcher
  readonly #shims: SandboxShims

  constructor(parts: SandboxParts) {
    this.#ctx = parts.ctx
    this.#roots = parts.roots
    this.#launcher = parts.launcher
    this.#shims = new SandboxShims(parts)
  }

  async create(ctx: Context, sandbox: Sandbox, options: SandboxCreateOptions = {}): Promise<void> {
    const { id } = sandbox
    if (await this.#shims.find(ctx, id)) throw alreadyExists(`sandbox ${id} already running`)
    const bundle = createBundle(this.#roots, namespaceOf(ctx), id, sandbox.spec)
    const creating = this.#create(ctx, bundle, sandbox, options)
    await raceAbort(this.#shims.finish(creating), ctx.signal)
  }

  async start(ctx: Context, id: string): Promise<SandboxInstance> {
    const shim = await this.#shims.find(ctx, id)
    if (!shim) throw notFound(`unable to find sandbox ${JSON.stringify(id)}`)
    try {
      const reply = await shim.sandbox.startSandbox({ sandboxId: id }, callOf(ctx))
      const { pid, spec } = reply
      const createdAt = dateFromProto(reply.createdAt)
      return { id, pid, createdAt, labels: {}, spec: spec && toAny(spec), ...servedAt(shim) }
    } catch (err) {
      await this.#shims.finish(this.#shims.discard(shim))
      throw new Error(`failed to start sandbox ${id}`, { cause: err })
    }
  }

  async platform(ctx: Context, id: string): Promise<SandboxPlatform> {
    const { sandbox } = await this.#shims.get(ctx, id)
    try {
      const { platform } = await sandbox.platform({ sandboxId: id }, quick(ctx))
      const { os = '', architecture = '', variant = '' } = platform ?? {}
      return { os, architecture, variant }
    } catch (err) {
      throw new Error('failed to get sandbox platform', { cause: err })
    }
  }

  async stop(
    ctx: Context,
    id: string,
    { timeoutMs = 0 }: { readonly timeoutMs?: number } = {},
  ): Promise<void> {
    const shim = await this.#shims.find(ctx, id)
    if (!shim) return
    const request = { sandboxId: id, timeoutSecs: Math.floor(timeoutMs / 1000) }
    try {
      await shim.sandbox.stopSandbox(request, callOf(ctx))
    } catch (err) {
      if (await this.#shims.isSucceeded(ctx, shim)) return await this.stop(ctx, id, { timeoutMs })
      if (hasCode(err, 'not_found') || hasCode(err, 'unavailable')) return
      throw new Error('failed to stop sandbox', { cause: err })
    }
  }

  async wait(ctx: Context, id: string): Promise<SandboxExit> {
    const shim = await this.#shims.get(ctx, id)
    try {
      const reply = await shim.sandbox.waitSandbox({ sandboxId: id }, callOf(ctx))
      return { status: reply.exitStatus, exitedAt: dateFromProto(reply.exitedAt) }
    } catch (err) {
      if (await this.#shims.isSucceeded(ctx, shim)) return await this.wait(ctx, id)
      const gone = `the shim of sandbox ${id} is gone`
      const cause = shim.closed.aborted ? unavailable(gone, { cause: err }) : err
      throw failed(`failed to wait sandbox ${id}`, cause)
    }
  }

  async status(
    ctx: Context,
    id: string,
    { verbose = false }: { readonly verbose?: boolean } = {},
  ): Promise<SandboxStatus> {
    const shim = await this.#shims.find(ctx, id)
    if (!shim) return unknownStatus(id)
    try {
      const reply = await shim.sandbox.sandboxStatus({ sandboxId: id, verbose }, quick(ctx))
      const { sandboxId, pid, state, info, extra } = reply
      return {
        id: sandboxId,
        pid,
        state,
        info,
        createdAt: dateFromProto(reply.createdAt),
        exitedAt: dateFromProto(reply.exitedAt),
        extra: extra && toAny(extra),
        ...servedAt(shim),
      }
    } catch (err) {
      throw new Error(`failed to query sandbox ${id} status`, { cause: err })
    }
  }

  async shutdown(ctx: Context, id: string): Promise<void> {
    const shim = await this.#shims.get(ctx, id)
    try {
      await shim.sandbox.shutdownSandbox({ sandboxId: id }, callOf(ctx))
    } catch (err) {
      throw new Error('failed to shutdown sandbox', { cause: err })
    }
    await this.#shims.finish(this.#shims.end(shim))
  }

  async metrics(ctx: Context, id: string): Promise<Any | undefined> {
    const { sandbox } = await this.#shims.get(ctx, id)
    const { metrics } = await sandbox.sandboxMetrics({ sandboxId: id }, quick(ctx))
    return metrics?.data && toAny(metrics.data)
  }

  /** Shims are not told of changes: their API has no method for it. */
  async update(ctx: Context, { id }: Sandbox): Promise<void> {
    await this.#shims.get(ctx, id)
  }

  /** Lets go of the shims. They, and their sandboxes, go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#shims[Symbol.asyncDispose]()
  }

  /** What has begun comes to its end: nobody else could undo it. */
  async #create(
    ctx: Context,
    bundle: Bundle,
    { id, runtime }: Sandbox,
    { rootfs = [], options, netnsPath = '', annotations = {} }: SandboxCreateOptions,
  ): Promise<void> {
    const own = { ...this.#ctx, namespace: bundle.namespace, signal: AbortSignal.timeout(startMs) }
    const shim = await this.#startShim(own, bundle, runtime)
    this.#shims.add(shim)
    try {
      const request = {
        sandboxId: id,
        bundlePath: bundle.path,
        rootfs: rootfs.map((mount) => ({ ...mount, options: [...mount.options] })),
        netnsPath,
        annotations: { ...annotations },
        ...(options ? { options } : {}),
      }
      await shim.sandbox.createSandbox(request, callOf(own))
      ctx.signal.throwIfAborted()
    } catch (err) {
      await this.#shims.discard(shim)
      throw failed(`failed to create sandbox ${id}`, explained(err, shim))
    }
  }

  async #startShim(ctx: Context, bundle: Bundle, runtime: Sandbox['runtime']): Promise<Shim> {
    try {
      const program = this.#launcher.program(runtime.name)
      return await this.#launcher.start(ctx, bundle, program, runtime.options)
    } catch (err) {
      await removeBundle(this.#ctx, bundle)
      throw new Error(`failed to start new shim for sandbox ${bundle.id}`, { cause: err })
    }
  }
}

/** Most shims have only the API of tasks; their own answer does not say what to do. */
function explained(err: unknown, { program }: Shim): unknown {
  if (!hasCode(err, 'unimplemented')) return err
  const what = `the shim ${program.path} does not serve the sandbox API; use a runtime that does`
  return unimplemented(what, { cause: err })
}

const failed = (what: string, cause: unknown): Error => new Error(what, { cause })

const servedAt = ({ endpoint }: Shim): { readonly address: string; readonly version: number } => ({
  address: formatTaskApi(endpoint),
  version: endpoint.version,
})

const unknownStatus = (id: string): SandboxStatus => ({
  id,
  pid: 0,
  state: '',
  info: {},
  createdAt: new Date(0),
  exitedAt: new Date(),
  address: '',
  version: 0,
})

const callOf = (ctx: Context) => ({ signal: ctx.signal, ...partOf(ctx) })

const quick = (ctx: Context) => ({ ...callOf(ctx), timeoutMs: quickMs })
