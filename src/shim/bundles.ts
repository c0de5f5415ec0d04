import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

import { socketOf } from './bundle.ts'

/** A bundle that an earlier host served. */
export interface FoundBundle {
  readonly id: string
  readonly path: string
}

/** The bundles in `dir` whose host has, or had, its socket at this path. */
export function bundlesOf(dir: string, socket: string): FoundBundle[] {
  // A host that is started for a sandbox may be there before any task.
  if (!existsSync(dir)) return []
  return readdirSync(dir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map(({ name }) => ({ id: name, path: join(dir, name) }))
    .filter(({ path }) => socketOf(path) === socket)
}
