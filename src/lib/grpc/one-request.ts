import { CodedError } from '#lib/errors/errors.ts'

import { MessageReader, wholeMessage } from './messages.ts'

/** The request of a call that has one, as it comes. In one piece it costs no reader and no promise. */
export class OneRequest {
  readonly #maxBytes: number
  #reader: MessageReader | undefined
  #message: Uint8Array | undefined

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** @throws as `MessageReader.push`; `internal` for a second message. */
  push(chunk: Buffer): void {
    if (!this.#reader && !this.#message) {
      this.#message = wholeMessage(chunk, this.#maxBytes)
      if (this.#message) return
    }
    this.#reader ??= new MessageReader(this.#maxBytes)
    for (const message of this.#reader.push(chunk)) {
      if (this.#message) throw new CodedError('internal', 'more than one request message')
      this.#message = message
    }
  }

  /** What came, when nothing more can come. @throws `internal` if that is no message. */
  take(): Uint8Array {
    const message = this.#message
    if (message && !this.#reader?.inMessage) return message
    throw new CodedError('internal', 'unexpected EOF')
  }
}
