import type { Outbox } from './outbox.ts'
import { FrameType } from './protocol.ts'

/** How long a peer may be silent, and how long it may take to answer, ms. */
export interface KeepAliveTimes {
  readonly idleMs: number
  readonly answerMs: number
}

const defaults: KeepAliveTimes = { idleMs: 7_200_000, answerMs: 20_000 }
const question = Buffer.from('wharf ka')

/** Asks a silent peer whether it is there: a connection may be gone without either end knowing. */
export class KeepAlive implements Disposable {
  readonly #outbox: Outbox
  readonly #times: KeepAliveTimes
  readonly #onLost: () => void
  #heard = false
  #asked = false
  #timer: NodeJS.Timeout | undefined

  /** `onLost` is called when the peer has not answered; not after disposal. */
  constructor(outbox: Outbox, times: KeepAliveTimes | undefined, onLost: () => void) {
    this.#outbox = outbox
    this.#times = times ?? defaults
    this.#onLost = onLost
    this.#wait(this.#times.idleMs)
  }

  /** The peer has said something, whatever it is. */
  heard(): void {
    this.#heard = true
  }

  /** Whether that PING payload is ours. */
  answered(bytes: Buffer, start: number): boolean {
    return this.#asked && bytes.compare(question, 0, 8, start, start + 8) === 0
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
  }

  #wait(ms: number): void {
    this.#timer = setTimeout(() => this.#look(), ms)
    this.#timer.unref()
  }

  #look(): void {
    if (this.#heard) {
      this.#heard = this.#asked = false
      this.#wait(this.#times.idleMs)
    } else if (this.#asked) {
      this.#onLost()
    } else {
      this.#asked = true
      this.#outbox.frame(FrameType.ping, 0, 0, 8)
      this.#outbox.bytes(question)
      this.#wait(this.#times.answerMs)
    }
  }
}
