import { setTimeout as sleep } from 'node:timers/promises'

import type { Any } from '#core/any/any.ts'
import { type Context, withTimeout } from '#core/context.ts'
import type {
  Sandbox,
  SandboxController,
  SandboxCreateOptions,
  SandboxExit,
  SandboxInstance,
  SandboxPlatform,
  SandboxStatus,
} from '#core/sandbox/controller.ts'
import { Controller } from '#gen/services/sandbox_pb.ts'
import { CodedError, hasCode } from '#lib/errors/errors.ts'
import type { Connection, ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { anyFromProto } from './convert/any.ts'
import { mountsToProto } from './convert/mount.ts'
import { sandboxToProto } from './convert/sandbox.ts'
import { dateFromProto } from './convert/timestamp.ts'

/** Between two questions to a controller that went away. Source: upstream `proxy/controller.go`. */
const firstRetryMs = 128
const lastRetryMs = 4096
/** How long a controller that is waited for may be away, ms, unless the daemon says otherwise. */
const defaultAwayMs = 120_000
/** How long one that is there may take to say so, ms. */
const answerMs = 10_000
/** The entry of `[timeouts]` that says how long one may be away. */
export const awayTimeout = 'io.wharf.timeout.sandbox.away'

/** How a controller of another daemon is asked. */
export interface RemoteSandboxOptions {
  /** How long one that is waited for may be away, ms, asked each time; 0 waits without end. */
  readonly awayMs?: () => number
}

/** One sandbox controller of another daemon. */
export class RemoteSandboxController implements SandboxController {
  readonly #client: ServiceClient<typeof Controller>
  readonly #sandboxer: string
  readonly #awayMs: () => number

  constructor(connection: Connection, sandboxer: string, options: RemoteSandboxOptions = {}) {
    this.#client = connection.client(Controller)
    this.#sandboxer = sandboxer
    this.#awayMs = options.awayMs ?? (() => defaultAwayMs)
  }

  async create(ctx: Context, sandbox: Sandbox, options: SandboxCreateOptions = {}): Promise<void> {
    const { rootfs = [], netnsPath = '', annotations = {} } = options
    const request = {
      ...this.#of(sandbox.id),
      rootfs: mountsToProto(rootfs),
      ...(options.options && { options: options.options }),
      netnsPath,
      annotations: { ...annotations },
      sandbox: sandboxToProto(sandbox),
    }
    await this.#client.create(request, callOptions(ctx))
  }

  async start(ctx: Context, id: string): Promise<SandboxInstance> {
    const started = await this.#client.start(this.#of(id), callOptions(ctx))
    const { pid, labels, address, version } = started
    const createdAt = dateFromProto(started.createdAt)
    return { id, pid, createdAt, labels, address, version, spec: anyFromProto(started.spec) }
  }

  async platform(ctx: Context, id: string): Promise<SandboxPlatform> {
    const { platform } = await this.#client.platform(this.#of(id), callOptions(ctx))
    const { os = '', architecture = '', variant = '' } = platform ?? {}
    return { os, architecture, variant }
  }

  async stop(
    ctx: Context,
    id: string,
    { timeoutMs = 0 }: { readonly timeoutMs?: number } = {},
  ): Promise<void> {
    const request = { ...this.#of(id), timeoutSecs: Math.floor(timeoutMs / 1000) }
    await this.#client.stop(request, callOptions(ctx))
  }

  /** Goes on when the controller comes back. @throws `unavailable` when it stays away. */
  async wait(ctx: Context, id: string): Promise<SandboxExit> {
    for (;;) {
      try {
        const { exitStatus, exitedAt } = await this.#client.wait(this.#of(id), callOptions(ctx))
        return { status: exitStatus, exitedAt: dateFromProto(exitedAt) }
      } catch (err) {
        if (!hasCode(err, 'unavailable') || ctx.signal.aborted) throw err
        await this.#returned(ctx, id, err)
      }
    }
  }

  /** Asks until the controller answers anything at all. */
  async #returned(ctx: Context, id: string, cause: unknown): Promise<void> {
    const awayMs = this.#awayMs()
    const since = performance.now()
    for (let ms = firstRetryMs; ; ms = Math.min(lastRetryMs, ms * 2)) {
      const left = awayMs === 0 ? ms : since + awayMs - performance.now()
      if (left <= 0) throw this.#away(id, awayMs, cause)
      await sleep(Math.min(ms, left), undefined, { signal: ctx.signal })
      try {
        await this.status(withTimeout(ctx, answerMs), id)
        return
      } catch (err) {
        ctx.signal.throwIfAborted()
        if (!hasCode(err, 'unavailable') && !hasCode(err, 'deadline_exceeded')) return
      }
    }
  }

  #away(id: string, awayMs: number, cause: unknown): Error {
    const message =
      `wait for sandbox ${id}: its controller ${this.#sandboxer} has been away for ` +
      `${awayMs / 1000} s; start it and wait again, or give it longer with ${awayTimeout}`
    return new CodedError('unavailable', message, { cause })
  }

  async status(
    ctx: Context,
    id: string,
    { verbose = false }: { readonly verbose?: boolean } = {},
  ): Promise<SandboxStatus> {
    const status = await this.#client.status({ ...this.#of(id), verbose }, callOptions(ctx))
    const { pid, state, info, address, version } = status
    return {
      id,
      pid,
      state,
      info,
      createdAt: dateFromProto(status.createdAt),
      exitedAt: dateFromProto(status.exitedAt),
      extra: anyFromProto(status.extra),
      address,
      version,
    }
  }

  async shutdown(ctx: Context, id: string): Promise<void> {
    await this.#client.shutdown(this.#of(id), callOptions(ctx))
  }

  async metrics(ctx: Context, id: string): Promise<Any | undefined> {
    const { metrics } = await this.#client.metrics(this.#of(id), callOptions(ctx))
    return anyFromProto(metrics?.data)
  }

  async update(ctx: Context, sandbox: Sandbox, paths: readonly string[]): Promise<void> {
    const request = {
      ...this.#of(sandbox.id),
      sandbox: sandboxToProto(sandbox),
      fields: [...paths],
    }
    await this.#client.update(request, callOptions(ctx))
  }

  #of(sandboxId: string): { readonly sandboxId: string; readonly sandboxer: string } {
    return { sandboxId, sandboxer: this.#sandboxer }
  }
}
