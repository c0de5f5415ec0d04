import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/**
 * Copies the file or directory `from` to `to`, with owners, modes, times, links, devices, holes and
 * extended attributes, sharing blocks where the file system can. A directory that is there at `to`
 * is copied into.
 */
export async function copyTree(
  from: string,
  to: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  const args = ['--archive', '--reflink=auto', '--no-target-directory', '--', from, to]
  try {
    await promisify(execFile)('cp', args, options)
  } catch (err) {
    options.signal?.throwIfAborted()
    throw new Error(`copy ${from}`, { cause: err })
  }
}
