/** Runs `steps` to its end, and lets others run after every `size` of them. */
export async function inSlices<T>(steps: Iterator<void, T>, size: number): Promise<T> {
  for (let count = 1; ; count++) {
    const step = steps.next()
    if (step.done === true) return step.value
    if (count % size === 0) await new Promise((resolve) => setImmediate(resolve))
  }
}
