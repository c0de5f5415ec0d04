import { type Context, namespaceOf, withTimeout } from '#core/context.ts'
import type { Publisher } from '#core/events/events.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { describe, hasCode, notFound } from '#lib/errors/errors.ts'

import type { Bundle, BundleRoots } from './bundle.ts'
import { cleanUp, endShim, publishDeath, removeBundle } from './end-shim.ts'
import type { Launcher } from './launcher.ts'
import { Loading } from './loading.ts'
import { Pending } from './pending.ts'
import { findBundles, programOf, removeLeftovers } from './recover.ts'
import { reviveSandbox } from './revive-sandbox.ts'
import type { Shim } from './shim.ts'
import { Turns } from './turns.ts'

/** How long a sandbox is looked for that an earlier daemon has left, in ms. */
const findMs = 60_000

/** What sandboxes are run with. */
export interface SandboxParts {
  readonly ctx: Context
  readonly roots: BundleRoots
  readonly launcher: Launcher
  readonly events: Publisher
  /** Shims that an earlier daemon left are looked for afterwards. */
  readonly serving: Promise<void>
}

/**
 * The shims of sandboxes. One that is lost has a successor, or its sandbox ends; those that an earlier
 * daemon has left are found again in the background.
 */
export class SandboxShims implements AsyncDisposable {
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

  constructor({ ctx, roots, launcher, events, serving }: SandboxParts) {
    this.#ctx = { ...ctx, signal: AbortSignal.any([ctx.signal, this.#stop.signal]) }
    this.#roots = roots
    this.#launcher = launcher
    this.#events = events
    this.#recover(new Turns(serving))
  }

  /** @throws `not_found` */
  async get(ctx: Context, id: string): Promise<Shim> {
    const shim = await this.find(ctx, id)
    if (!shim) throw notFound(`sandbox ${id}`)
    return shim
  }

  /** The shim of a sandbox, if there is one; waits for one that is still looked for. */
  async find(ctx: Context, id: string): Promise<Shim | undefined> {
    const name = { namespace: namespaceOf(ctx), id }
    await this.#loading.of(ctx, name, findMs)
    return this.#shims.get(keyOf(name))
  }

  /** Has work come to its end before this is disposed of, also if its caller leaves. */
  async finish<T>(work: Promise<T>): Promise<T> {
    return await this.#pending.add(work)
  }

  /** Ends a sandbox that did not become one. */
  async discard(given: Shim): Promise<void> {
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

  /** Ends the shim of a sandbox that has been shut down. */
  async end(shim: Shim): Promise<void> {
    if (this.#forget(shim)) await endShim(this.#ctx, shim)
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

  /** Takes note of a new shim. */
  add(shim: Shim): void {
    this.#shims.set(keyOf(shim.bundle), shim)
    const onClosed = (): void => {
      const succeeding = this.#pending.add(this.#succeed(shim))
      this.#successors.set(shim, succeeding)
      this.#loading.add(shim.bundle, this.#settled(shim.bundle, succeeding))
    }
    if (shim.closed.aborted) onClosed()
    else shim.closed.addEventListener('abort', onClosed, { once: true })
  }

  /** Whether a shim was lost, and another one has its sandbox now. */
  async isSucceeded(ctx: Context, shim: Shim): Promise<boolean> {
    const next = this.#successors.get(shim)
    return next !== undefined && (await raceAbort(next, ctx.signal)) !== undefined
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
      this.add(next)
      await shim[Symbol.asyncDispose]()
    }
    return next
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
      this.add(shim)
      if (await isUnknown(bounded, shim)) await this.discard(shim)
    } catch (err) {
      if (this.#ctx.signal.aborted) return
      this.#ctx.log.warn('shim of a sandbox is gone', { id: bundle.id, error: describe(err) })
      const next = await reviveSandbox(this.#ctx, bundle, program, this.#launcher)
      if (next) return this.add(next)
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

const keyOf = ({ namespace, id }: Pick<Bundle, 'namespace' | 'id'>): string => `${namespace}/${id}`
