const secondMs = 1000

/**
 * What a peer may ask for beyond useful work: an amount at once, refilled with time, and by the
 * owner for every useful thing. The clock is read only when it seems used up.
 */
export class Budget {
  readonly #burst: number
  readonly #perSecond: number
  #left: number
  #filledAt = performance.now()

  constructor(burst: number, perSecond: number) {
    this.#burst = burst
    this.#perSecond = perSecond
    this.#left = burst
  }

  /** Takes one. False when nothing is left. */
  take(): boolean {
    if (this.#left < 1) this.#refill()
    if (this.#left < 1) return false
    this.#left--
    return true
  }

  /** Gives some back. */
  give(amount: number): void {
    this.#left = Math.min(this.#burst, this.#left + amount)
  }

  #refill(): void {
    const now = performance.now()
    this.give(((now - this.#filledAt) / secondMs) * this.#perSecond)
    this.#filledAt = now
  }
}
