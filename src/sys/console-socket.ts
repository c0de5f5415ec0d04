import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'

import { socketFd } from './peer.ts'
import { recvFd } from './receive-fd.ts'

/** How often a connected socket is asked for its descriptor, in milliseconds. */
const pollInterval = 1

/**
 * The listening end of `runc --console-socket`: the runtime connects and sends the master of the
 * terminal it made.
 */
export class ConsoleSocket implements Disposable {
  readonly path: string
  readonly #server: Server
  readonly #connected: Promise<Socket>

  private constructor(path: string, server: Server) {
    this.path = path
    this.#server = server
    const { promise, resolve } = Promise.withResolvers<Socket>()
    server.once('connection', resolve)
    this.#connected = promise
  }

  /** Listens at `path`, which is removed at disposal. @throws {SystemError} `EADDRINUSE` */
  static async listen(path: string): Promise<ConsoleSocket> {
    const server = createServer({ pauseOnConnect: true })
    const listening = once(server, 'listening')
    server.listen(path)
    await listening
    return new ConsoleSocket(path, server)
  }

  /**
   * Waits for the terminal and gives its master, which is then the caller's to close.
   *
   * @throws {SystemError} `ECONNRESET` when the runtime hung up without sending one.
   */
  async accept(signal: AbortSignal): Promise<number> {
    const socket = await abortable(this.#connected, signal)
    try {
      for (;;) {
        const received = recvFd(socketFd(socket))
        if (received) return received.fd
        await setTimeout(pollInterval, undefined, { signal })
      }
    } finally {
      socket.destroy()
    }
  }

  [Symbol.dispose](): void {
    this.#server.close()
    void this.#connected.then((socket) => socket.destroy())
  }
}

/** Opens a console socket at `path`. @throws {SystemError} */
export const consoleSocket = (path: string): Promise<ConsoleSocket> => ConsoleSocket.listen(path)

async function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const onAbort = (): void => aborted.reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
