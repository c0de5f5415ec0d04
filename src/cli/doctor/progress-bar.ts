import { bytes } from '#cli/bytes.ts'
import { duration } from '#cli/duration.ts'
import { barText } from '#cli/progress.ts'
import type { Progress } from '#doctor/store.ts'

/** Before this much time has passed nobody can tell how long it will take, in ms. */
const settleMs = 1000

/** Shows progress on one line of a terminal, and nothing elsewhere. */
export interface ProgressBar extends Disposable {
  readonly show: ((progress: Progress) => void) | undefined
}

export function progressBar(out: NodeJS.WriteStream): ProgressBar {
  if (!out.isTTY) return { show: undefined, [Symbol.dispose]: () => undefined }
  let stage = ''
  let began = 0
  let shown = false
  return {
    show: (progress) => {
      if (progress.stage !== stage) began = performance.now()
      stage = progress.stage
      shown = true
      out.write(`\r\x1b[K${progressText(progress, performance.now() - began)}`)
    },
    [Symbol.dispose]: () => {
      if (shown) out.write('\r\x1b[K')
      shown = false
    },
  }
}

/** `reading blobs [######------]  50 %  2.0 GB of 4.0 GB, 12 s left`. */
export function progressText({ stage, done, total }: Progress, ms: number): string {
  if (total === 0) return stage
  const part = Math.min(done / total, 1)
  const left = ms > settleMs && part > 0 ? (ms / part - ms) / 1000 : undefined
  const eta = left === undefined ? '' : `, ${duration(left)} left`
  return `${barText(stage, done, total)}  ${bytes(done)} of ${bytes(total)}${eta}`
}
