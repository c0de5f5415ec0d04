import type { Any } from '#core/any/any.ts'
import { type Context, namespaceOf, withTimeout } from '#core/context.ts'
import type { Publisher } from '#core/events/events.ts'
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
import {
  alreadyExists,
  describe,
  hasCode,
  notFound,
  unavailable,
  unimplemented,
} from '#lib/errors/errors.ts'
import { dateFromProto } from '#proxy/convert/timestamp.ts'

import { type Bundle, type BundleRoots, createBundle } from './bundle.ts'
import { cleanUp, endShim, publishDeath, removeBundle } from './end-shim.ts'
import type { Launcher } from './launcher.ts'
import { Loading } from './loading.ts'
import { Pending } from './pending.ts'
import { findBundles, programOf, removeLeftovers } from './recover.ts'
import { reviveSandbox } from './revive-sandbox.ts'
import { formatTaskApi } from './sandbox-endpoint.ts'
import type { Shim } from './shim.ts'
import { Turns } from './turns.ts'
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
  readonly #events: Publisher
  readonly #shims = new Map<string, Shim>()
  /** What has taken the place of shims that were lost. */
  readonly #successors = new WeakMap<Shim, Promise<Shim | undefined>>()
  readonly #loading = new Loading('no shim serves it yet, and one is still looked for')
  readonly #pending = new Pending()
  readonly #stop = new AbortController()

  /** @param serving - Shims that an earlier daemon left are looked for afterwards. */
  constructor(
    ctx: Context,
    roots: BundleRoots,
    launcher: Launcher,
    events: Publisher,
    serving: Promise<void>,
  ) {
    this.#ctx = { ...ctx, signal: AbortSignal.any([ctx.signal, this.#stop.signal]) }
    this.#roots = roots
    this.#launcher = launcher
    this.#events = events
    this.#recover(new Turns(serving))
  }

  async create(ctx: Context, sandbox: Sandbox, options: SandboxCreateOptions = {}): Promise<void> {
    const { id } = sandbox
    if (await this.#find(ctx, id)) throw alreadyExists(`sandbox ${id} already running`)
    const bundle = createBundle(this.#roots, namespaceOf(ctx), id, sandbox.spec)
    const creating = this.#create(ctx, bundle, sandbox, options)
    await raceAbort(this.#pending.add(creating), ctx.signal)
  }

  async start(ctx: Context, id: string): Promise<SandboxInstance> {
    const shim = await this.#find(ctx, id)
    if (!shim) throw notFound(`unable to find sandbox ${JSON.stringify(id)}`)
    try {
      const reply = await shim.sandbox.startSandbox({ sandboxId: id }, callOf(ctx))
      const { pid, spec } = reply
      const createdAt = dateFromProto(reply.createdAt)
      return { id, pid, createdAt, labels: {}, spec: spec && toAny(spec), ...servedAt(shim) }
    } catch (err) {
      await this.#pending.add(this.#discard(shim))
      throw new Error(`failed to start sandbox ${id}`, { cause: err })
    }
  }

  async platform(ctx: Context, id: string): Promise<SandboxPlatform> {
    const { sandbox } = await this.#shim(ctx, id)
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
    const shim = await this.#find(ctx, id)
    if (!shim) return
    const request = { sandboxId: id, timeoutSecs: Math.floor(timeoutMs / 1000) }
    try {
      await shim.sandbox.stopSandbox(request, callOf(ctx))
    } catch (err) {
      if (await this.#isSucceeded(ctx, shim)) return await this.stop(ctx, id, { timeoutMs })
      if (hasCode(err, 'not_found') || hasCode(err, 'unavailable')) return
      throw new Error('failed to stop sandbox', { cause: err })
    }
  }

  async wait(ctx: Context, id: string): Promise<SandboxExit> {
    const shim = await this.#shim(ctx, id)
    try {
      const reply = await shim.sandbox.waitSandbox({ sandboxId: id }, callOf(ctx))
      return { status: reply.exitStatus, exitedAt: dateFromProto(reply.exitedAt) }
    } catch (err) {
      if (await this.#isSucceeded(ctx, shim)) return await this.wait(ctx, id)
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
    const shim = await this.#find(ctx, id)
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
    const shim = await this.#shim(ctx, id)
    try {
      await shim.sandbox.shutdownSandbox({ sandboxId: id }, callOf(ctx))
    } catch (err) {
      throw new Error('failed to shutdown sandbox', { cause: err })
    }
    if (this.#forget(shim)) await this.#pending.add(endShim(this.#ctx, shim))
  }

  async metrics(ctx: Context, id: string): Promise<Any | undefined> {
    const { sandbox } = await this.#shim(ctx, id)
    const { metrics } = await sandbox.sandboxMetrics({ sandboxId: id }, quick(ctx))
    return metrics?.data && toAny(metrics.data)
  }

  /** Shims are not told of changes: their API has no method for it. */
  async update(ctx: Context, { id }: Sandbox): Promise<void> {
    await this.#shim(ctx, id)
  }

  /** Lets go of the shims. They, and their sandboxes, go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#loading.settled()
    await this.#pending.settled()
    await this.#launcher[Symbol.asyncDispose]()
    const shims = [...this.#shims.values()]
    this.#shims.clear()
    for (const shim of shims) await shim[Symbol.asyncDispose]()
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
    this.#add(shim)
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
      await this.#discard(shim)
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

  /** Ends a sandbox that did not become one. */
  async #discard(given: Shim): Promise<void> {
    const shim = (await this.#successors.get(given)) ?? given
    const { id } = shim.bundle
    if (!this.#forget(shim)) return
    try {
      const timeoutMs = shim.program.timeout('shim.cleanup')
      await shim.sandbox.shutdownSandbox({ sandboxId: id }, { timeoutMs })
    } catch (err) {
      this.#ctx.log.warn('failed to shutdown sandbox', { id, error: describe(err) })
    }
    await endShim(this.#ctx, shim)
  }

  async #shim(ctx: Context, id: string): Promise<Shim> {
    const shim = await this.#find(ctx, id)
    if (!shim) throw notFound(`sandbox ${id}`)
    return shim
  }

  async #find(ctx: Context, id: string): Promise<Shim | undefined> {
    const name = { namespace: namespaceOf(ctx), id }
    await this.#loading.of(ctx, name, startMs)
    return this.#shims.get(keyOf(name))
  }

  #add(shim: Shim): void {
    this.#shims.set(keyOf(shim.bundle), shim)
    const onClosed = (): void => {
      const succeeding = this.#pending.add(this.#succeed(shim))
      this.#successors.set(shim, succeeding)
      this.#loading.add(shim.bundle, this.#settled(shim.bundle, succeeding))
    }
    if (shim.closed.aborted) onClosed()
    else shim.closed.addEventListener('abort', onClosed, { once: true })
  }

  /** From here on the end of the shim is no surprise. Whether it was still known. */
  #forget({ bundle }: Shim): boolean {
    return this.#shims.delete(keyOf(bundle))
  }

  /** The shim is lost: another one goes on with the sandbox, or it ends. */
  async #succeed(shim: Shim): Promise<Shim | undefined> {
    const { bundle, program } = shim
    if (this.#shims.get(keyOf(bundle)) !== shim) return undefined
    const next = await reviveSandbox(this.#ctx, bundle, program, this.#launcher)
    if (!next) await this.#bury(shim)
    else {
      this.#add(next)
      await shim[Symbol.asyncDispose]()
    }
    return next
  }

  /** Whether a shim was lost, and another one has its sandbox now. */
  async #isSucceeded(ctx: Context, shim: Shim): Promise<boolean> {
    const next = this.#successors.get(shim)
    return next !== undefined && (await raceAbort(next, ctx.signal)) !== undefined
  }

  async #settled({ path }: Bundle, finding: Promise<unknown>): Promise<void> {
    try {
      await finding
    } catch (err) {
      if (this.#ctx.signal.aborted) return
      this.#ctx.log.error('failed to load sandbox', { path, error: describe(err) })
    }
  }

  /** The shim is lost: removes what is left of its sandbox, and tells how it ended. */
  async #bury(shim: Shim): Promise<void> {
    const { bundle, program } = shim
    if (this.#shims.get(keyOf(bundle)) !== shim) return
    const exit = await cleanUp(this.#ctx, program, bundle)
    if (this.#forget(shim)) publishDeath(this.#ctx, this.#events, bundle, exit)
    await removeBundle(this.#ctx, bundle)
    await shim[Symbol.asyncDispose]()
  }

  #recover(turns: Turns): void {
    for (const bundle of findBundles(this.#roots)) {
      this.#loading.add(bundle, this.#settled(bundle, this.#recoverOne(bundle, turns)))
    }
    void this.#pending.add(this.#loading.settled().then(async () => await this.#tidy()))
  }

  async #tidy(): Promise<void> {
    if (!this.#ctx.signal.aborted) await removeLeftovers(this.#ctx, this.#roots)
  }

  async #recoverOne(bundle: Bundle, turns: Turns): Promise<void> {
    await turns.next(this.#ctx.signal)
    const program = programOf(bundle, this.#launcher)
    const bounded = withTimeout(
      { ...this.#ctx, namespace: bundle.namespace },
      program.timeout('shim.load'),
    )
    try {
      const shim = await this.#launcher.attach(bounded, bundle, program)
      this.#add(shim)
      if (await isUnknown(bounded, shim)) await this.#discard(shim)
    } catch (err) {
      if (this.#ctx.signal.aborted) return
      this.#ctx.log.warn('shim of a sandbox is gone', { id: bundle.id, error: describe(err) })
      const next = await reviveSandbox(this.#ctx, bundle, program, this.#launcher)
      if (next) return this.#add(next)
      await cleanUp(this.#ctx, program, bundle)
      await removeBundle(this.#ctx, bundle)
    }
  }
}

/** Whether a shim says that it has no such sandbox; one that says nothing is only stopped. */
async function isUnknown(ctx: Context, shim: Shim): Promise<boolean> {
  try {
    await shim.sandbox.sandboxStatus({ sandboxId: shim.bundle.id }, { signal: ctx.signal })
    return false
  } catch (err) {
    return hasCode(err, 'not_found')
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

const keyOf = ({ namespace, id }: Pick<Bundle, 'namespace' | 'id'>): string => `${namespace}/${id}`
