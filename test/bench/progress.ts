import type { WriteStream } from 'node:tty'

/** One line that says what is being done, where somebody looks at it. */
export interface Progress extends Disposable {
  show(doing: string): void
  /** Takes the line away. */
  clear(): void
}

/** Progress on a terminal; nothing where the stream is none. */
export function progressOn(stream: WriteStream): Progress {
  const clear = (): void => {
    if (stream.isTTY) stream.write('\r\u001b[K')
  }
  return {
    clear,
    [Symbol.dispose]: clear,
    show: (doing) => {
      clear()
      if (stream.isTTY) stream.write(doing.slice(0, (stream.columns || 80) - 1))
    },
  }
}
