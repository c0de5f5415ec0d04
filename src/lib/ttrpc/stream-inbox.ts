import type { Socket } from 'node:net'

import { CodedError } from '#lib/errors/errors.ts'
import { Inbox } from '#lib/rpc/inbox.ts'

const manyMessages = 64
const fullForMs = 1_000

/** Sockets that an inbox has stopped reading, with the number of inboxes that want it so. */
const held = new WeakMap<Socket, number>()

/**
 * The messages of one stream as they come.
 *
 * ttrpc has no flow control: a reader that is 64 messages behind makes the whole socket wait, and
 * after a second without progress its stream fails, so that it cannot starve the others (upstream:
 * `streamRecvBufferSize`, `ErrStreamFull`).
 */
export class StreamInbox extends Inbox<Uint8Array> {
  readonly #socket: Socket
  #full: NodeJS.Timeout | undefined

  constructor(socket: Socket, onReturn?: () => void) {
    super(onReturn ? { onReturn } : {})
    this.#socket = socket
  }

  override push(message: Uint8Array): void {
    super.push(message)
    if (this.size < manyMessages || this.#full || this.ended) return
    this.#full = setTimeout(() => {
      this.fail(new CodedError('resource_exhausted', 'ttrpc: stream buffer full'))
    }, fullForMs)
    hold(this.#socket)
  }

  override async next(): Promise<IteratorResult<Uint8Array>> {
    const result = super.next()
    if (this.size < manyMessages) this.#release()
    return await result
  }

  override fail(err: unknown): void {
    super.fail(err)
    this.#release()
  }

  override end(error?: { readonly err: unknown }): void {
    super.end(error)
    this.#release()
  }

  #release(): void {
    if (!this.#full) return
    clearTimeout(this.#full)
    this.#full = undefined
    release(this.#socket)
  }
}

function hold(socket: Socket): void {
  held.set(socket, (held.get(socket) ?? 0) + 1)
  socket.pause()
}

function release(socket: Socket): void {
  const count = (held.get(socket) ?? 1) - 1
  held.set(socket, count)
  if (count === 0) socket.resume()
}
