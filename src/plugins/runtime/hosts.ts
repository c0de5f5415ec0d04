import type { Context } from '#core/context.ts'
import { raceAbort } from '#lib/async/mutex.ts'

import type { Endpoint } from './bootstrap.ts'
import type { Connections, Lease } from './connections.ts'
import { taskCalls } from './task-api.ts'

/** Where the host of a namespace is, until disposed. */
export interface Membership extends AsyncDisposable {
  readonly endpoint: Endpoint
}

/** How a host was found or started; `scope` ends with it. */
export interface Started {
  readonly endpoint: Endpoint
  readonly scope?: Disposable
}

interface Host {
  readonly opening: Promise<{ readonly endpoint: Endpoint; readonly lease: Lease }>
  users: number
  scope?: Disposable | undefined
  timer?: NodeJS.Timeout | undefined
  /** Settles when the host is gone for good. */
  retiring?: Promise<void>
}

/** A host without containers stays this long by default: the next one need not start it. */
const defaultLingerMs = 300_000
/** containerd's `io.containerd.timeout.shim.shutdown`. */
const shutdownMs = 3_000

/**
 * The built-in shim hosts that are known to run, one for each namespace.
 *
 *   absent ─join─► opening ─► in use ─last leaves─► idle ─5 min─► retiring ─► absent
 *                                ▲─────────join───────┘
 *
 * Only the first container of a namespace pays for starting one, also when many come at once.
 */
export class Hosts implements AsyncDisposable {
  readonly #connections: Connections
  readonly #hosts = new Map<string, Host>()
  readonly #lingerMs: number
  #disposed = false

  constructor(connections: Connections, lingerMs: number = defaultLingerMs) {
    this.#connections = connections
    this.#lingerMs = lingerMs
  }

  /** Joins the host of `namespace`; `start` is called when none runs. @throws what `start` throws. */
  async join(ctx: Context, namespace: string, start: () => Promise<Started>): Promise<Membership> {
    for (;;) {
      const host = this.#hosts.get(namespace)
      if (!host) return await this.#open(ctx, namespace, start)
      if (host.retiring) await raceAbort(host.retiring, ctx.signal)
      else if (await this.#runs(ctx, host)) return await this.#enter(namespace, host)
      if (this.#hosts.get(namespace) === host) this.#hosts.delete(namespace)
    }
  }

  /** Leaves the hosts that have containers alone, and ends the others. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true
    for (const [namespace, host] of this.#hosts) {
      clearTimeout(host.timer)
      if (host.users === 0) await this.#retire(namespace, host)
      host.scope?.[Symbol.dispose]()
      const opened = await host.opening.catch(() => undefined)
      await opened?.lease[Symbol.asyncDispose]()
    }
    this.#hosts.clear()
  }

  async #open(ctx: Context, namespace: string, start: () => Promise<Started>): Promise<Membership> {
    const host: Host = {
      users: 0,
      opening: start().then(async ({ endpoint, scope }) => {
        host.scope = scope
        return { endpoint, lease: await this.#connections.acquire(ctx, endpoint, namespace) }
      }),
    }
    this.#hosts.set(namespace, host)
    try {
      await host.opening
    } catch (err) {
      host.scope?.[Symbol.dispose]()
      if (this.#hosts.get(namespace) === host) this.#hosts.delete(namespace)
      throw err
    }
    return await this.#enter(namespace, host)
  }

  async #runs(ctx: Context, host: Host): Promise<boolean> {
    try {
      const { lease } = await raceAbort(host.opening, ctx.signal)
      return !lease.connection.closed.aborted && !host.retiring
    } catch {
      // Whoever started it has the error; this one tries for itself, unless it is cancelled.
      ctx.signal.throwIfAborted()
      return false
    }
  }

  async #enter(namespace: string, host: Host): Promise<Membership> {
    host.users++
    clearTimeout(host.timer)
    const { endpoint } = await host.opening
    let left = false
    const leave = async (): Promise<void> => {
      if (left) return
      left = true
      host.users--
      if (host.users === 0 && !this.#disposed) await this.#idle(namespace, host)
    }
    return { endpoint, [Symbol.asyncDispose]: leave }
  }

  async #idle(namespace: string, host: Host): Promise<void> {
    const { lease } = await host.opening
    if (lease.connection.closed.aborted) {
      if (this.#hosts.get(namespace) === host) this.#hosts.delete(namespace)
      host.scope?.[Symbol.dispose]()
      await lease[Symbol.asyncDispose]()
      return
    }
    const retire = (): void => {
      host.retiring = this.#retire(namespace, host)
    }
    if (host.users === 0) host.timer = setTimeout(retire, this.#lingerMs).unref()
  }

  /** Asks the host to end, and gives its connection back. It stays when others use it too. */
  async #retire(namespace: string, host: Host): Promise<void> {
    const opened = await host.opening.catch(() => undefined)
    if (!opened) return
    const { endpoint, lease } = opened
    const { connection } = lease
    try {
      const calls = taskCalls(connection, endpoint.version)
      await calls.shutdown({ id: namespace, now: true }, { timeoutMs: shutdownMs })
      await ended(connection.closed)
    } catch {
      // It has ended before it could answer, or is stuck; the next `start` deals with that.
    }
    host.scope?.[Symbol.dispose]()
    await lease[Symbol.asyncDispose]()
    if (this.#hosts.get(namespace) === host) this.#hosts.delete(namespace)
  }
}

/** Waits for the host to close the connection, but not for long. */
async function ended(closed: AbortSignal): Promise<void> {
  if (closed.aborted) return
  const { promise, resolve } = Promise.withResolvers<void>()
  using _timer = setTimeout(resolve, 1_000)
  closed.addEventListener('abort', () => resolve(), { once: true })
  await promise
}
