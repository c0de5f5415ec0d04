/** How many small steps make up a turn, which is about a millisecond. */
export const sliceSize = 64

/** Adds up for how long nothing else could run. */
export class Pauses {
  /** In ms. */
  total = 0

  /** Runs `work`, and counts how long it took. */
  during<T>(work: () => T): T {
    const began = performance.now()
    try {
      return work()
    } finally {
      this.total += performance.now() - began
    }
  }
}

/** Runs `steps` to its end, and lets others run after every `size` of them. */
export async function inSlices<T>(
  steps: Iterator<void, T>,
  size = sliceSize,
  pauses = new Pauses(),
): Promise<T> {
  for (;;) {
    const last = pauses.during(() => slice(steps, size))
    if (last.done === true) return last.value
    await nextTurn()
  }
}

function slice<T>(steps: Iterator<void, T>, size: number): IteratorResult<void, T> {
  let step = steps.next()
  for (let count = 1; count < size && step.done !== true; count++) step = steps.next()
  return step
}

/** All of `items`; others run in between. */
export async function gathered<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) {
    found.push(item)
    if (found.length % sliceSize === 0) await nextTurn()
  }
  return found
}

/** Lets others run that have waited for their turn: an await alone does not. */
export const nextTurn = async (): Promise<void> =>
  await new Promise((resolve) => setImmediate(resolve))
