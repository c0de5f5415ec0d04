/** Tells a person at a terminal how far a long piece of work is. */
export interface Progress extends Disposable {
  readonly step: (done: number, total: number) => void
}

const width = 30

/** No more often than this, in ms. */
const interval = 100

/** Work that is done sooner than this, in ms, shows no bar. */
const patience = 300

/** A bar on `stream`, taken away at the end; nothing when the stream is no terminal. */
export function progressBar(label: string, stream: NodeJS.WriteStream = process.stderr): Progress {
  let next = performance.now() + patience
  let shown = false
  const step = (done: number, total: number): void => {
    const now = performance.now()
    if (!stream.isTTY || now < next) return
    next = now + interval
    shown = true
    stream.write(`\r${barText(label, done, total)}\x1b[K`)
  }
  return { step, [Symbol.dispose]: () => shown && stream.write('\r\x1b[K') }
}

/** The bar as text: `checking [######------]  50 %`. */
export function barText(label: string, done: number, total: number): string {
  const part = total > 0 ? Math.min(1, done / total) : 0
  const full = Math.round(part * width)
  const percent = String(Math.floor(part * 100)).padStart(3)
  return `${label} [${'#'.repeat(full)}${'-'.repeat(width - full)}] ${percent} %`
}
