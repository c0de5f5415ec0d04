import { once } from 'node:events'
import type { MessagePort } from 'node:worker_threads'

/** How many pieces may be on their way before one is taken. */
const maxOnWay = 4

/** In a worker: pieces that the other side of `port` gives when asked; it closes the port at the end. */
export async function* pulledPieces(port: MessagePort): AsyncGenerator<Uint8Array> {
  try {
    for (;;) {
      const answer = once(port, 'message')
      port.postMessage('pull')
      const [piece]: unknown[] = await answer
      if (!(piece instanceof Uint8Array)) return
      yield piece
    }
  } finally {
    port.close()
  }
}

/** The other side of `pulledPieces`: answers with what `read` gives, `undefined` at the end. */
export function servePieces(
  port: MessagePort,
  read: () => Promise<Uint8Array | undefined>,
  onError: (err: unknown) => void,
): void {
  port.on('message', () => {
    read().then(
      (piece) => (piece ? send(port, piece) : port.postMessage('end')),
      (err: unknown) => {
        onError(err)
        port.postMessage('end')
      },
    )
  })
}

/** In a worker: gives pieces to the other side of `port`, and waits while it is behind. */
export function pushingOutput(port: MessagePort): (piece: Uint8Array) => Promise<void> {
  const sent = { onWay: 0, wake: nothing }
  port.on('message', () => {
    sent.onWay--
    sent.wake()
  })
  port.unref()
  return async (piece) => {
    sent.onWay++
    send(port, piece)
    while (sent.onWay >= maxOnWay) {
      const { promise, resolve } = Promise.withResolvers<void>()
      sent.wake = resolve
      port.ref()
      await promise
      port.unref()
    }
  }
}

const nothing = (): void => undefined

/** The other side of `pushingOutput`: `write` gets one piece after the other. */
export function takePieces(
  port: MessagePort,
  write: (piece: Uint8Array) => Promise<void>,
  onError: (err: unknown) => void,
): { readonly settled: () => Promise<void> } {
  let last = Promise.resolve()
  port.on('message', (piece: Uint8Array) => {
    last = last
      .then(() => write(piece))
      .catch(onError)
      .then(() => port.postMessage('taken'))
  })
  return { settled: () => last }
}

/** Sends a copy: the piece may be part of a larger buffer, which would be sent whole. */
function send(port: MessagePort, piece: Uint8Array): void {
  const copy = new Uint8Array(piece)
  port.postMessage(copy, [copy.buffer])
}
