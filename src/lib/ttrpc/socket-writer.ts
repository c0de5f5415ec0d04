import type { Socket } from 'node:net'

/** Writes frames to a socket, those of one turn of the event loop in one system call. */
export class SocketWriter {
  readonly #socket: Socket
  #corked = false

  constructor(socket: Socket) {
    this.#socket = socket
  }

  /** False means that the peer is slow: wait for `drained` before the next large thing. */
  write(frame: Buffer): boolean {
    if (this.#socket.destroyed) return true
    if (!this.#corked) {
      this.#corked = true
      this.#socket.cork()
      setImmediate(() => {
        this.#corked = false
        this.#socket.uncork()
      })
    }
    return this.#socket.write(frame)
  }

  /** Resolves when the socket takes more, or is gone. */
  async drained(): Promise<void> {
    const socket = this.#socket
    if (socket.destroyed || !socket.writableNeedDrain) return
    const { promise, resolve } = Promise.withResolvers<void>()
    socket.once('drain', resolve)
    socket.once('close', resolve)
    await promise
    socket.off('drain', resolve)
    socket.off('close', resolve)
  }
}
