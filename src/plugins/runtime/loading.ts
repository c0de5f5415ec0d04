import type { Context } from '#core/context.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { unavailable } from '#lib/errors/errors.ts'

/** Whose task or sandbox it is. */
export interface TaskName {
  readonly namespace: string
  readonly id: string
}

/** Tasks or sandboxes that somebody is still making or looking for. Nobody waits for one without end. */
export class Loading {
  readonly #state: string
  readonly #running = new Map<
    string,
    { readonly namespace: string; readonly done: Promise<void> }
  >()

  /** @param state - What is said of one that takes too long. */
  constructor(state: string) {
    this.#state = state
  }

  /** Has those who ask for a task wait until `finding` has ended, well or not. */
  add({ namespace, id }: TaskName, finding: Promise<void>): void {
    const key = `${namespace}/${id}`
    const done = finding.finally(() => {
      if (this.#running.get(key) === loading) this.#running.delete(key)
    })
    const loading = { namespace, done }
    this.#running.set(key, loading)
  }

  /** Waits for one. @throws `unavailable` when it is not found in `ms`. */
  async of(ctx: Context, { namespace, id }: TaskName, ms: number): Promise<void> {
    const loading = this.#running.get(`${namespace}/${id}`)
    if (!loading || (await endsWithin(ctx, loading.done, ms))) return
    throw unavailable(`${id}: ${this.#state}`)
  }

  /** Waits for all of a namespace, or of every one, as far as they are found in `ms`. */
  async all(ctx: Context, namespace: string | undefined, ms: number): Promise<void> {
    const own = [...this.#running.values()].filter(
      (each) => namespace === undefined || each.namespace === namespace,
    )
    if (own.length > 0) await endsWithin(ctx, this.#settled(own), ms)
  }

  /** Resolves when all that is looked for now is found, or is not. */
  async settled(): Promise<void> {
    await this.#settled([...this.#running.values()])
  }

  async #settled(loading: readonly { readonly done: Promise<void> }[]): Promise<void> {
    await Promise.allSettled(loading.map(({ done }) => done))
  }
}

async function endsWithin(ctx: Context, work: Promise<void>, ms: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>()
  using _timer = setTimeout(() => resolve(false), ms)
  return await raceAbort(Promise.race([work.then(() => true), late]), ctx.signal)
}
