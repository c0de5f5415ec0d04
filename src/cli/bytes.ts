const units = ['B', 'kB', 'MB', 'GB', 'TB'] as const

/** A number of bytes with three digits or so. */
export function bytes(count: number): string {
  let value = count
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${value.toFixed(unit > 0 && value < 100 ? 1 : 0)} ${units[unit]}`
}
