import { Inbox } from '#lib/rpc/inbox.ts'

import { MessageReader } from './messages.ts'

/**
 * The messages of a stream as they come. While a message waits for its reader, what came is not
 * given back to the sender, who is so held back.
 */
export class MessageInbox {
  readonly messages: Inbox<Uint8Array>
  readonly #reader: MessageReader
  readonly #credit: (bytes: number) => void
  #held = 0

  /** `credit` gives bytes back; `onReturn` hears of a reader that leaves before the end. */
  constructor(maxBytes: number, credit: (bytes: number) => void, onReturn?: () => void) {
    this.#reader = new MessageReader(maxBytes)
    this.#credit = credit
    this.messages = new Inbox({
      onEmpty: () => this.#release(),
      onReturn: () => {
        this.#release()
        onReturn?.()
      },
    })
  }

  /** Whether a message has begun that has not ended. */
  get inMessage(): boolean {
    return this.#reader.inMessage
  }

  /** @throws as `MessageReader.push`. */
  push(chunk: Buffer): void {
    this.#held += chunk.length
    if (!this.messages.ended) {
      for (const message of this.#reader.push(chunk)) this.messages.push(message)
    }
    if (this.messages.size === 0 || this.messages.ended) this.#release()
  }

  #release(): void {
    const held = this.#held
    this.#held = 0
    if (held > 0) this.#credit(held)
  }
}
