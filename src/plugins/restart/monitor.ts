import { setTimeout as sleep } from 'node:timers/promises'

import type { Container } from '#core/containers/containers.ts'
import { type Context, withNamespace, withTimeout } from '#core/context.ts'
import type { NamespaceStore } from '#core/namespaces/namespaces.ts'
import { restartCount, restartLabels, wantsRestart } from '#core/restart/restart.ts'
import type { ProcessState } from '#core/runtime/runtime.ts'
import { background } from '#lib/async/background.ts'
import { Semaphore } from '#lib/async/semaphore.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'

import { Attempts, type RestartSettings } from './attempts.ts'
import { type RestartParts, endTask, startAgain } from './change.ts'

/** How long it may take to look at a task, and to start or end one, in ms. */
const [stateMs, changeMs] = [2000, 120_000]
/** How many containers are looked at or changed at a time. */
const parallel = 16

/**
 * Keeps tasks as the labels of their containers say, in every namespace. It looks each interval, and
 * a container that takes its time, or whose shim is stuck, keeps no other waiting.
 *
 * Unlike containerd it leaves alone what a client is just starting, and starts a task that ends again
 * and again after longer and longer times. Source: upstream `plugins/restart/monitor.go`.
 */
export class RestartMonitor implements AsyncDisposable {
  readonly #parts: RestartParts & { readonly namespaces: NamespaceStore }
  readonly #settings: RestartSettings
  readonly #attempts: Attempts
  readonly #places = new Semaphore(parallel)
  /** Containers that are looked at or changed just now. */
  readonly #underWay = new Map<string, Promise<void>>()
  /** Tasks that the last round saw between their creation and their start. */
  readonly #created = new Set<string>()
  readonly #rounds: AsyncDisposable

  constructor(
    ctx: Context,
    parts: RestartParts & { readonly namespaces: NamespaceStore },
    settings: RestartSettings,
  ) {
    this.#parts = parts
    this.#settings = settings
    this.#attempts = new Attempts(settings)
    this.#rounds = background(
      async (stop) => {
        const signal = AbortSignal.any([ctx.signal, stop])
        await this.#run({ ...ctx, signal })
      },
      (err) => {
        if (!ctx.signal.aborted) ctx.log.error('restart monitor', { error: describe(err) })
      },
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#rounds[Symbol.asyncDispose]()
    await Promise.all(this.#underWay.values())
  }

  async #run(ctx: Context): Promise<void> {
    for (;;) {
      try {
        await this.#round(ctx)
      } catch (err) {
        ctx.signal.throwIfAborted()
        ctx.log.error('reconcile', { error: describe(err) })
      }
      await sleep(this.#settings.intervalMs, undefined, { signal: ctx.signal })
    }
  }

  async #round(ctx: Context): Promise<void> {
    const { namespaces, containers } = this.#parts
    const seen = new Set<string>()
    for (const { name } of await namespaces.list(ctx)) {
      const inside = withNamespace(ctx, name)
      const filter = `labels.${JSON.stringify(restartLabels.status)}`
      for (const container of await containers.list(inside, [filter])) {
        const key = `${name}/${container.id}/${container.createdAt.getTime()}`
        seen.add(key)
        if (this.#underWay.has(key)) continue
        const looking = this.#look(inside, key, container).finally(() => {
          this.#underWay.delete(key)
        })
        this.#underWay.set(key, looking)
      }
    }
    this.#attempts.keep(seen)
    for (const key of this.#created) if (!seen.has(key)) this.#created.delete(key)
  }

  async #look(ctx: Context, key: string, container: Container): Promise<void> {
    const { id } = container
    try {
      using _place = await this.#places.acquire(ctx)
      const state = await this.#stateOf(ctx, id)
      const change = this.#changeOf(ctx, key, container, state)
      await change?.(withTimeout(ctx, changeMs))
    } catch (err) {
      if (!ctx.signal.aborted) ctx.log.error('apply change', { id, error: describe(err) })
    }
  }

  /** The state of the task; nothing when there is none. @throws when nobody can say. */
  async #stateOf(ctx: Context, id: string): Promise<ProcessState | undefined> {
    const bounded = withTimeout(ctx, stateMs)
    try {
      return await (await this.#parts.tasks.get(bounded, id)).state(bounded)
    } catch (err) {
      if (hasCode(err, 'not_found')) return undefined
      throw new Error('cannot see how the task is', { cause: err })
    }
  }

  /** What is to be done, if anything. @throws `invalid_argument` for labels that make no sense. */
  #changeOf(
    ctx: Context,
    key: string,
    container: Container,
    state: ProcessState | undefined,
  ): ((ctx: Context) => Promise<void>) | undefined {
    const { id, labels } = container
    const desired = labels[restartLabels.status]
    const status = state?.status ?? 'stopped'
    if (this.#isBeingStarted(key, container, state) || desired === status) return undefined
    if (desired === 'stopped') return async (bounded) => await endTask(bounded, this.#parts, id)
    if (desired !== 'running' || (status !== 'stopped' && status !== 'created')) return undefined
    if (!wantsRestart(labels, state?.exitStatus ?? 0)) return undefined
    if (!this.#attempts.isDue(key, state?.exitedAt)) return undefined
    if (labels[restartLabels.logPath]) {
      ctx.log.warn(`Label ${JSON.stringify(restartLabels.logPath)} is no longer supported`, { id })
    }
    const count = restartCount(labels) + 1
    this.#attempts.began(key)
    return async (bounded) => await startAgain(bounded, this.#parts, container, count)
  }

  /** Whether a client may be between the steps of a start: it has the interval to finish them. */
  #isBeingStarted(key: string, { createdAt }: Container, state: ProcessState | undefined): boolean {
    if (!state) return Date.now() - createdAt.getTime() < this.#settings.intervalMs
    const before = this.#created.delete(key)
    if (state.status !== 'created' || before) return false
    this.#created.add(key)
    return true
  }
}
