import type { Context } from '#core/context.ts'
import { Sandbox } from '#gen/shim/sandbox_pb.ts'
import { deadlineExceeded, hasCode } from '#lib/errors/errors.ts'
import type { CallOptions, ServiceClient } from '#lib/rpc/rpc.ts'

import type { Endpoint } from './bootstrap.ts'
import type { Bundle } from './bundle.ts'
import type { Lease } from './connections.ts'
import type { ShimProgram, ShimStage } from './shim-program.ts'
import { type TaskCalls, taskCalls } from './task-api.ts'
import { partOf } from './wire.ts'

/** What a task holds of its shim. */
export interface ShimParts {
  readonly bundle: Bundle
  readonly program: ShimProgram
  readonly endpoint: Endpoint
  readonly lease: Lease
  /** Whether it goes on without this task: nobody but `Hosts` may shut it down. */
  readonly grouped: boolean
  /** Closed with the shim: its log, or its part in a host. */
  readonly scope: AsyncDisposable
}

/** The shim of one task: a connection to a process that may serve others too. */
export class Shim implements AsyncDisposable {
  readonly bundle: Bundle
  readonly program: ShimProgram
  readonly endpoint: Endpoint
  readonly grouped: boolean
  readonly #lease: Lease
  readonly #scope: AsyncDisposable
  #version: number
  #calls: TaskCalls

  constructor({ bundle, program, endpoint, lease, grouped, scope }: ShimParts) {
    this.bundle = bundle
    this.program = program
    this.endpoint = endpoint
    this.grouped = grouped
    this.#lease = lease
    this.#scope = scope
    this.#version = endpoint.version
    this.#calls = taskCalls(lease.connection, endpoint.version)
  }

  get calls(): TaskCalls {
    return this.#calls
  }

  /** The sandbox API, which not every shim has. */
  get sandbox(): ServiceClient<typeof Sandbox> {
    return this.#lease.connection.client(Sandbox)
  }

  /** Aborts when the shim, or the connection to it, is gone. */
  get closed(): AbortSignal {
    return this.#lease.connection.closed
  }

  /**
   * Runs the first call to a shim. One that said it speaks version 3 may be of an older release,
   * started before its program was replaced; then it is spoken to in version 2 from here on.
   */
  async firstCall<T>(ctx: Context, call: (calls: TaskCalls) => Promise<T>): Promise<T> {
    try {
      return await call(this.#calls)
    } catch (err) {
      if (this.#version < 3 || !hasCode(err, 'unimplemented')) throw err
      ctx.log.warn('shim does not speak its version of the task API, downgrading', {
        id: this.bundle.id,
      })
      this.#version = 2
      this.#calls = taskCalls(this.#lease.connection, this.#version)
      return await call(this.#calls)
    }
  }

  /**
   * Asks the shim for something that may take long, in the time that its stage has.
   * @throws `deadline_exceeded` naming the stage and the shim, when that says nothing.
   */
  async ask<T>(
    ctx: Context,
    stage: ShimStage,
    call: (calls: TaskCalls, options: CallOptions) => Promise<T>,
  ): Promise<T> {
    const timeoutMs = this.program.stageMs(stage)
    const began = performance.now()
    try {
      return await call(this.#calls, { signal: ctx.signal, timeoutMs, ...partOf(ctx) })
    } catch (err) {
      const late = hasCode(err, 'deadline_exceeded') && performance.now() - began >= timeoutMs
      if (!late || ctx.signal.aborted) throw err
      const what = `task ${this.bundle.id}: ${stage}: the shim at ${this.endpoint.address}`
      throw deadlineExceeded(`${what} has said nothing for ${timeoutMs / 1000} s`, { cause: err })
    }
  }

  /** Gives the connection back; the process behind it goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lease[Symbol.asyncDispose]()
    await this.#scope[Symbol.asyncDispose]()
  }
}
