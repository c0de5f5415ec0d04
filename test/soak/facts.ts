import assert from 'node:assert/strict'

import type { Labels } from '#core/labels/labels.ts'
import { hasCode } from '#lib/errors/errors.ts'

/** What a record may be known to be: its labels, or that it is not there. */
type State = Labels | undefined

/**
 * What the clients of a daemon know of records. One whose change was cut off may be as it was before
 * or as it should have become.
 */
export class Facts {
  readonly #known: Map<string, readonly State[]>
  readonly #watching = new Set<Facts>()

  constructor(known: Iterable<readonly [string, readonly State[]]> = []) {
    this.#known = new Map(known)
  }

  /** The state of a record that nobody is just changing. */
  now(name: string): State {
    return this.#known.get(name)?.[0]
  }

  /** Changes a record, and remembers whether that was acknowledged. @throws what `change` throws. */
  async change(name: string, to: State, change: () => Promise<unknown>): Promise<void> {
    this.#known.set(name, [this.now(name), to])
    for (const copy of this.#watching) copy.#allow(name, to)
    await change()
    this.#known.set(name, [to])
  }

  /** Finds out what a record is of which that is not known: its change has failed. */
  async settle(name: string, read: (name: string) => Promise<Labels>): Promise<void> {
    if ((this.#known.get(name)?.length ?? 0) > 1) await this.#checkOne(name, read)
  }

  /** What is known now, and may have become, until it is disposed of, whatever is changed meanwhile. */
  watch(): { readonly facts: Facts } & Disposable {
    const facts = new Facts(this.#known)
    this.#watching.add(facts)
    return { facts, [Symbol.dispose]: () => void this.#watching.delete(facts) }
  }

  #allow(name: string, state: State): void {
    this.#known.set(name, [...(this.#known.get(name) ?? [undefined]), state])
  }

  /** Compares every record with what is there now. @returns how many there are. */
  async check(read: (name: string) => Promise<Labels>): Promise<number> {
    for (const name of this.#known.keys()) await this.#checkOne(name, read)
    return this.#known.size
  }

  async #checkOne(name: string, read: (name: string) => Promise<Labels>): Promise<void> {
    const found = await read(name).catch((err: unknown) => {
      if (!hasCode(err, 'not_found')) throw err
      return undefined
    })
    const expected = (this.#known.get(name) ?? []).map(textOf)
    assert.ok(
      expected.includes(textOf(found)),
      `${name}: ${textOf(found)}, not ${expected.join(' or ')}`,
    )
    this.#known.set(name, [found])
  }
}

const textOf = (state: State): string =>
  state === undefined
    ? 'nothing'
    : Object.keys(state)
        .toSorted()
        .map((key) => `${key}=${state[key]}`)
        .join(',')
