import { setTimeout as sleep } from 'node:timers/promises'

import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
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
import { hasCode } from '#lib/errors/errors.ts'
import type { Connection, ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { anyFromProto } from './convert/any.ts'
import { mountsToProto } from './convert/mount.ts'
import { sandboxToProto } from './convert/sandbox.ts'
import { dateFromProto } from './convert/timestamp.ts'

/** Between two questions to a controller that went away. Source: upstream `proxy/controller.go`. */
const firstRetryMs = 128
const lastRetryMs = 4096

/** One sandbox controller of another daemon. */
export class RemoteSandboxController implements SandboxController {
  readonly #client: ServiceClient<typeof Controller>
  readonly #sandboxer: string

  constructor(connection: Connection, sandboxer: string) {
    this.#client = connection.client(Controller)
    this.#sandboxer = sandboxer
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

  async wait(ctx: Context, id: string): Promise<SandboxExit> {
    for (let ms = firstRetryMs; ; ms = Math.min(lastRetryMs, ms * 2)) {
      try {
        const { exitStatus, exitedAt } = await this.#client.wait(this.#of(id), callOptions(ctx))
        return { status: exitStatus, exitedAt: dateFromProto(exitedAt) }
      } catch (err) {
        if (!hasCode(err, 'unavailable') || ctx.signal.aborted) throw err
        await sleep(ms, undefined, { signal: ctx.signal })
      }
    }
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
