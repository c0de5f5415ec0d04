const slots = 1024

/** What is known of a stream that is over. */
export type Grave = 'reset by us' | 'closed' | undefined

/** The streams that ended last, in a ring of slots: the id and, in the lowest bit, who ended it. */
export class Graveyard {
  readonly #slots = new Uint32Array(slots)

  /** A peer may go on with a stream that we have reset until it hears of it. */
  bury(stream: number, resetByUs: boolean): void {
    this.#slots[(stream >>> 1) % slots] = stream * 2 + (resetByUs ? 1 : 0)
  }

  find(stream: number): Grave {
    const slot = this.#slots[(stream >>> 1) % slots] ?? 0
    if (slot === stream * 2 + 1) return 'reset by us'
    return slot === stream * 2 ? 'closed' : undefined
  }
}
