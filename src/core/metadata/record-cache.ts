/** Records as they were decoded, until the database changes. */
export class RecordCache<T> {
  readonly #limit: number
  readonly #records = new Map<string, T>()
  #revision = -1

  /** @param limit - How many records are kept. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** The record `key` of a database at `revision`: the one that `read` gave then, or gives now. */
  get(revision: number, key: string, read: () => T): T {
    if (revision !== this.#revision || this.#records.size >= this.#limit) this.#records.clear()
    this.#revision = revision
    const known = this.#records.get(key)
    if (known !== undefined) return known
    const record = read()
    this.#records.set(key, record)
    return record
  }
}
