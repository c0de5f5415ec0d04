/**
 * The quantile `q` (0 to 1) of some samples, between the nearest two where it falls between them;
 * undefined without samples.
 */
export function quantile(samples: readonly number[], q: number): number | undefined {
  const sorted = samples.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * q
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]]
  if (low === undefined || high === undefined) return undefined
  return low + (high - low) * (at - Math.floor(at))
}

/** `a / b`, where both are known and there is something to divide by. */
export const ratio = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined || b === 0 ? undefined : a / b

/** `items` from the `by`th on, then the ones before it: whoever was first is last next time. */
export function rotate<T>(items: readonly T[], by: number): readonly T[] {
  const at = items.length === 0 ? 0 : by % items.length
  return [...items.slice(at), ...items.slice(0, at)]
}
