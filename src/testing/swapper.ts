import { closeSync, constants } from 'node:fs'
import { join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'

import { mkdirat, Rename, renameat2, symlinkat } from '#sys/file.ts'
import { openat2, Resolve } from '#sys/openat2.ts'
import { O_PATH, openRoot } from '#sys/resolve.ts'

/*
 * A process that somebody starts to be in the way of an extraction: it exchanges directories and files
 * in a tree for links that lead out of it, as often as it is told, and then says how often. It follows
 * no link itself.
 *
 *     node swapper.ts ROOT OUTSIDE TIMES
 */

/** The file to run. */
export const swapper: string = fileURLToPath(import.meta.url)

/** What is exchanged: `name` for a link by the name of `name.link`. */
const victims = ['d', 'd/sub', 'd/sub/f', 'd/new', 'f'] as const

function main(root: string, outside: string, times: number): void {
  const top = openRoot(root)
  const targets = [outside, '../outside', '../../outside', join(outside, 'secret')]
  let tried = 0
  for (let done = 0; done < times; tried++) {
    const path = victims[tried % victims.length] ?? ''
    const target = targets[tried % targets.length] ?? ''
    if (attempt(() => swap(top, path, target))) done++
  }
  process.stdout.write(`${times}\n`)
}

function swap(top: number, path: string, target: string): void {
  using stack = new DisposableStack()
  const dir = stack.adopt(parentOf(top, path), closeSync)
  const name = posix.basename(path)
  const link = `${name}.link`
  if (attempt(() => renameat2(dir, name, dir, link, Rename.exchange))) return
  // The extraction has removed one of them.
  attempt(() => mkdirat(dir, name, 0o755))
  attempt(() => symlinkat(target, dir, link))
  renameat2(dir, name, dir, link, Rename.exchange)
}

function parentOf(top: number, path: string): number {
  const flags = O_PATH | constants.O_DIRECTORY
  return openat2(top, posix.dirname(path), { flags, resolve: Resolve.beneath | Resolve.noSymlinks })
}

/** Whether `step` did it: what is in its way may be gone, or come, at any time. */
function attempt(step: () => void): boolean {
  try {
    step()
    return true
  } catch {
    return false
  }
}

if (import.meta.main) {
  const [root = '', outside = '', times = ''] = process.argv.slice(2)
  main(root, outside, Number(times))
}
