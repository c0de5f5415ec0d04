/** How many small steps make up a turn, which is about a millisecond. */
export const sliceSize = 64

/** Runs `steps` to its end, and lets others run after every `size` of them. */
export async function inSlices<T>(steps: Iterator<void, T>, size = sliceSize): Promise<T> {
  for (let count = 1; ; count++) {
    const step = steps.next()
    if (step.done === true) return step.value
    if (count % size === 0) await nextTurn()
  }
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
