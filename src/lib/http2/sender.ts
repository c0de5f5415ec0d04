import type { Outbox } from './outbox.ts'
import { defaultFrameBytes, defaultWindowBytes } from './protocol.ts'

/** What may wait for the kernel, bytes; the rest waits in its stream, where it can be dropped. */
const outboxBytes = 256 * 1024

/** A stream with data to send. */
export interface Sending {
  /** Sends one frame. @returns whether it could send another one now. */
  sendOne(): boolean
}

/** Shares the connection's send window, and the socket, among its streams: a frame each in turn. */
export class Sender {
  readonly #outbox: Outbox
  /** Bytes of DATA the peer takes on this connection. */
  window: number = defaultWindowBytes
  /** The peer's SETTINGS_INITIAL_WINDOW_SIZE. */
  initialWindow: number = defaultWindowBytes
  /** The peer's SETTINGS_MAX_FRAME_SIZE, as far as we use it. */
  maxFrameBytes: number = defaultFrameBytes
  #ready: Sending[] = []
  #next = 0
  #pumping = false

  constructor(outbox: Outbox) {
    this.#outbox = outbox
  }

  /** How much a stream with that window may send at once; negative if it must wait its turn. */
  room(streamWindow: number): number {
    if (this.#next < this.#ready.length || this.#outbox.pending >= outboxBytes) return -1
    return Math.min(streamWindow, this.window, this.maxFrameBytes)
  }

  /** Queues a stream. It must not be queued. */
  offer(stream: Sending): void {
    this.#ready.push(stream)
    this.pump()
  }

  /** Sends what the windows and the socket take. */
  pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    while (
      this.#next < this.#ready.length &&
      this.window > 0 &&
      this.#outbox.pending < outboxBytes
    ) {
      const stream = this.#ready[this.#next++]
      if (stream?.sendOne()) this.#ready.push(stream)
    }
    if (this.#next === this.#ready.length) {
      this.#ready = []
      this.#next = 0
    } else if (this.#next > 1024 && this.#next * 2 > this.#ready.length) {
      this.#ready = this.#ready.slice(this.#next)
      this.#next = 0
    }
    this.#pumping = false
  }
}
