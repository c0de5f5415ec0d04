import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Where a program is: in PATH, or where root's are, which not every PATH has. */
export function findProgram(name: string): string | undefined {
  const dirs = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin']
  return dirs.map((dir) => join(dir, name)).find((path) => existsSync(path))
}
