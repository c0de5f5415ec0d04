import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { Timestamp } from '#core/events/events.ts'
import type { Mount } from '#core/mount/mount.ts'

export type Status = 'unknown' | 'created' | 'running' | 'stopped' | 'paused' | 'pausing'

/** Where a process's standard streams go: FIFO paths, or URIs (`file://`, `binary://`). */
export interface Stdio {
  readonly stdin: string
  readonly stdout: string
  readonly stderr: string
  readonly terminal: boolean
}

/** A process of a task: its init process (`execId` empty) or an exec. */
export interface ProcessState extends Stdio {
  readonly containerId: string
  readonly execId: string
  readonly bundle: string
  readonly pid: number
  readonly status: Status
  readonly exitStatus: number
  readonly exitedAt?: Timestamp | undefined
}

export interface Exit {
  readonly pid: number
  readonly status: number
  readonly exitedAt?: Timestamp | undefined
}

export interface CreateOptions extends Stdio {
  /** The OCI spec, as the container record has it. */
  readonly spec: Any
  readonly rootfs: readonly Mount[]
  /** Runtime name (`io.containerd.runc.v2`) or absolute path of a shim. */
  readonly runtime: string
  /** What the shim is told for `start`: the container's, used when `taskOptions` is absent. */
  readonly runtimeOptions?: Any | undefined
  readonly taskOptions?: Any | undefined
  /** Path of a checkpoint directory to restore from; empty for none. */
  readonly checkpoint: string
  /** The sandbox that the task joins; empty for none. */
  readonly sandbox: string
  /** Where its sandbox serves tasks, if the caller knows: `ttrpc+unix:///path`. */
  readonly taskApi?: { readonly address: string; readonly version: number } | undefined
}

/** A container that has, or had, a process. All calls go to its shim. */
export interface Task {
  readonly id: string
  readonly namespace: string
  /** Of the init process. */
  readonly pid: number
  /** State of the init process, or of an exec. @throws `not_found`. */
  state(ctx: Context, execId?: string): Promise<ProcessState>
  /** Starts the init process or an exec. @returns its pid. */
  start(ctx: Context, execId?: string): Promise<number>
  kill(
    ctx: Context,
    options: { readonly signal: number; readonly all?: boolean; readonly execId?: string },
  ): Promise<void>
  exec(ctx: Context, execId: string, options: Stdio & { readonly spec: Any }): Promise<void>
  /** Removes an exec that has ended. @throws `failed_precondition` while it runs. */
  deleteExec(ctx: Context, execId: string): Promise<Exit>
  resizePty(
    ctx: Context,
    size: { readonly width: number; readonly height: number; readonly execId?: string },
  ): Promise<void>
  closeStdin(ctx: Context, execId?: string): Promise<void>
  pause(ctx: Context): Promise<void>
  resume(ctx: Context): Promise<void>
  pids(ctx: Context): Promise<readonly { readonly pid: number; readonly info?: Any | undefined }[]>
  checkpoint(ctx: Context, path: string, options?: Any): Promise<void>
  update(ctx: Context, resources: Any, annotations: Readonly<Record<string, string>>): Promise<void>
  /** Of the cgroup: `io.containerd.cgroups.v1.Metrics` or `….v2.Metrics`. */
  stats(ctx: Context): Promise<Any>
  /** Resolves when the process has ended; at once if it already has. */
  wait(ctx: Context, execId?: string): Promise<Exit>
}

/** Runs tasks through shims. */
export interface TaskManager extends AsyncDisposable {
  /**
   * @throws `already_exists`; `invalid_argument` for a bad id; what the shim says; for a runtime that
   * is not there an error without a code, as containerd does.
   */
  create(ctx: Context, id: string, options: CreateOptions): Promise<Task>
  /** @throws `not_found`. */
  get(ctx: Context, id: string): Promise<Task>
  /** Tasks of `ctx.namespace`; of all namespaces without one. */
  list(ctx: Context): Promise<readonly Task[]>
  /** Removes a task that has ended, and its shim if it was the last. @throws `failed_precondition` while it runs. */
  delete(ctx: Context, id: string): Promise<Exit>
  /** `-info` of a runtime, for introspection. */
  runtimeInfo?(ctx: Context, runtime: string, options?: Any): Promise<Any>
}
