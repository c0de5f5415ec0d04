import { forCleanup } from '#core/context.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'

import type { Session } from './session.ts'

/** After this the collector may ignore a lease that its maker forgot. Source: upstream `client/lease.go`. */
const expiryMs = 24 * 60 * 60 * 1000

/** A lease for one piece of work: what is made through `session` is kept until disposal. */
export class TemporaryLease implements AsyncDisposable {
  readonly session: Session
  readonly #outer: Session

  private constructor(outer: Session, id: string) {
    this.#outer = outer
    this.session = outer.with({ lease: id })
  }

  /** Takes a lease, unless `session` has one. */
  static async take(session: Session, options: AbortOptions = {}): Promise<TemporaryLease> {
    const { lease } = session.settings
    if (lease) return new TemporaryLease(session, lease)
    const expires = new Date(Date.now() + expiryMs).toISOString()
    const { id } = await session.leases.create(session.context(options), {
      id: '',
      labels: { 'containerd.io/gc.expire': expires },
    })
    return new TemporaryLease(session, id)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#outer.settings.lease) return
    const ctx = forCleanup(this.#outer.context())
    await this.#outer.leases.delete(ctx, this.session.settings.lease)
  }
}
