import type { Labels } from '#core/labels/labels.ts'
import type { Namespace } from '#core/namespaces/namespaces.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'

import type { Session } from './session.ts'

/** The namespaces of a daemon. */
export class Namespaces {
  readonly #session: Session

  constructor(session: Session) {
    this.#session = session
  }

  /** @throws `already_exists`; `invalid_argument` for a bad name or label. */
  async create(name: string, labels: Labels = {}, options: AbortOptions = {}): Promise<void> {
    await this.#session.namespaces.create(this.#session.context(options), { name, labels })
  }

  /** @throws `not_found`. */
  async get(name: string, options: AbortOptions = {}): Promise<Namespace> {
    return await this.#session.namespaces.get(this.#session.context(options), name)
  }

  async list(options: AbortOptions = {}): Promise<readonly Namespace[]> {
    return await this.#session.namespaces.list(this.#session.context(options))
  }

  /** Sets labels, all or none of them; an empty value removes one. */
  async setLabels(name: string, labels: Labels, options: AbortOptions = {}): Promise<void> {
    await this.#session.namespaces.setLabels(this.#session.context(options), name, labels)
  }

  /** @throws `not_found`; `failed_precondition`, naming what it still has. */
  async delete(name: string, options: AbortOptions = {}): Promise<void> {
    await this.#session.namespaces.delete(this.#session.context(options), name)
  }
}
