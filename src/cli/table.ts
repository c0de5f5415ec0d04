/** Rows with aligned columns, the first row above the others; numbers of bytes and the like to the right. */
export function table(
  rows: readonly (readonly string[])[],
  rightColumns: readonly number[] = [],
): string {
  const widths: number[] = []
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length)
  }
  const line = (row: readonly string[]): string =>
    row
      .map((cell, at) => {
        const width = widths[at] ?? 0
        return rightColumns.includes(at) ? cell.padStart(width) : cell.padEnd(width)
      })
      .join('  ')
      .trimEnd()
  return rows.map((row) => `${line(row)}\n`).join('')
}
