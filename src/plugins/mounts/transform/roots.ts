import { closeSync, constants } from 'node:fs'
import { basename, dirname, relative } from 'node:path'

import { unimplemented } from '#lib/errors/errors.ts'
import { openat2, Resolve } from '#sys/openat2.ts'
import { O_PATH, openRoot } from '#sys/resolve.ts'

/** The directory that something is to be made in, open, and its name there. */
export interface Place extends Disposable {
  readonly dir: number
  readonly name: string
}

/**
 * Opens the directory that holds `path`, which must be below one of `roots`: transformers make things
 * nowhere else, and no link leads them out.
 *
 * @throws `unimplemented` for a path elsewhere; {SystemError}: `EXDEV` for a link that leads out.
 */
export function placeOf(path: string, roots: readonly string[], what: string): Place {
  const root = roots.find((each) => path.startsWith(`${each}/`))
  if (root === undefined)
    throw unimplemented(`no root ${JSON.stringify(path)} configured for ${what}`)
  const fd = openRoot(root)
  try {
    const flags = O_PATH | constants.O_DIRECTORY
    const below = relative(root, dirname(path)) || '.'
    const dir = openat2(fd, below, { flags, resolve: Resolve.beneath | Resolve.noMagicLinks })
    return { dir, name: basename(path), [Symbol.dispose]: () => closeSync(dir) }
  } finally {
    closeSync(fd)
  }
}
