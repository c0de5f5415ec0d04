import type { TransferProgress } from '#client/transfer/progress.ts'

import { transferLines } from './transfer-text.ts'

/** Shows a transfer while it goes on. */
export interface TransferView extends Disposable {
  readonly show: ((progress: TransferProgress) => void) | undefined
}

/** No more often than this, in ms. */
const intervalMs = 100

/**
 * With `json` a line for each state on standard output; else, on a terminal, lines on standard error that are
 * written over and taken away at the end; else nothing.
 */
export function transferView(json: boolean): TransferView {
  if (json) return new Throttled(jsonLine, () => undefined)
  const out = process.stderr
  if (!out.isTTY) return { show: undefined, [Symbol.dispose]: () => undefined }
  const began = performance.now()
  let height = 0
  const clear = (): string => (height > 0 ? `\x1b[${height}A\x1b[J` : '')
  return new Throttled(
    (progress) => {
      const size = { rows: (out.rows || 24) - 1, columns: out.columns || 80 }
      const lines = transferLines(progress, performance.now() - began, size)
      out.write(`${clear()}${lines.map((line) => `${line}\n`).join('')}`)
      height = lines.length
    },
    () => out.write(clear()),
  )
}

function jsonLine({ message, parts, moved, total, present, unpacked }: TransferProgress): void {
  const progress = { message, moved, total, present, unpacked, parts }
  process.stdout.write(`${JSON.stringify({ progress })}\n`)
}

/** Draws now and then, and the last state at the end. */
class Throttled implements TransferView {
  readonly #draw: (progress: TransferProgress) => void
  readonly #end: () => void
  #latest: TransferProgress | undefined
  #next = 0

  constructor(draw: (progress: TransferProgress) => void, end: () => void) {
    this.#draw = draw
    this.#end = end
  }

  readonly show = (progress: TransferProgress): void => {
    this.#latest = progress
    const now = performance.now()
    if (now < this.#next) return
    this.#next = now + intervalMs
    this.#flush()
  }

  #flush(): void {
    if (this.#latest) this.#draw(this.#latest)
    this.#latest = undefined
  }

  [Symbol.dispose](): void {
    this.#flush()
    this.#end()
  }
}
