import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Mount } from '#core/mount/mount.ts'

/** The record of a sandbox: an environment that containers are put into, such as a pod. */
export interface Sandbox {
  readonly id: string
  readonly runtime: { readonly name: string; readonly options?: Any | undefined }
  /** The runtime specification it is made from. */
  readonly spec?: Any | undefined
  /** Name of the controller that manages it. */
  readonly sandboxer: string
  readonly labels: Labels
  readonly extensions: Readonly<Record<string, Any>>
  readonly createdAt: Date
  readonly updatedAt: Date
}

export interface SandboxCreateOptions {
  readonly rootfs?: readonly Mount[]
  /** For the controller; Kubernetes sends the configuration of the pod. */
  readonly options?: Any | undefined
  /** Path of the network namespace; empty for none. */
  readonly netnsPath?: string
  readonly annotations?: Labels
}

/** A sandbox that runs. */
export interface SandboxInstance {
  readonly id: string
  readonly pid: number
  readonly createdAt: Date
  readonly labels: Labels
  /** Where tasks of the sandbox are served; empty if they have shims of their own. */
  readonly address: string
  /** Of the task API at `address`. */
  readonly version: number
  readonly spec?: Any | undefined
}

export interface SandboxStatus {
  readonly id: string
  readonly pid: number
  /** `SANDBOX_READY` or `SANDBOX_NOTREADY`. */
  readonly state: string
  readonly info: Readonly<Record<string, string>>
  readonly createdAt: Date
  readonly exitedAt: Date
  readonly extra?: Any | undefined
  readonly address: string
  readonly version: number
}

export interface SandboxExit {
  readonly status: number
  readonly exitedAt: Date
}

/** Where a sandbox runs, as images name it. */
export interface SandboxPlatform {
  readonly os: string
  readonly architecture: string
  readonly variant: string
}

/**
 * Runs sandboxes. One goes through `create`, `start`, `stop` and `shutdown`, each once; `shutdown`
 * also ends a sandbox at any earlier point. For a sandbox that the controller does not have `stop`
 * has nothing to do, `status` tells of one that ended just now, without a state, and every other
 * method but `create` throws `not_found`.
 *
 * Source: upstream `core/sandbox/controller.go`.
 */
export interface SandboxController {
  /** Prepares the environment. @throws `already_exists` when the id is taken. */
  create(ctx: Context, sandbox: Sandbox, options?: SandboxCreateOptions): Promise<void>

  start(ctx: Context, id: string): Promise<SandboxInstance>

  /** What containers of the sandbox must be built for. */
  platform(ctx: Context, id: string): Promise<SandboxPlatform>

  /** Ends its processes; those that stay longer than `timeoutMs` are killed. */
  stop(ctx: Context, id: string, options?: { readonly timeoutMs?: number }): Promise<void>

  /** Waits for the sandbox to end. A controller that goes away meanwhile is asked again. */
  wait(ctx: Context, id: string): Promise<SandboxExit>

  /** How it is now; with `verbose`, with more in `info`. */
  status(ctx: Context, id: string, options?: { readonly verbose?: boolean }): Promise<SandboxStatus>

  /** Removes the sandbox and all that is left of it. */
  shutdown(ctx: Context, id: string): Promise<void>

  /** What it uses, in a type of the controller's own; undefined when it does not say. */
  metrics(ctx: Context, id: string): Promise<Any | undefined>

  /** Tells of a changed record: `paths` are its changed fields. */
  update(ctx: Context, sandbox: Sandbox, paths: readonly string[]): Promise<void>
}
