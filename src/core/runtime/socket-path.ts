import { invalidArgument } from '#lib/errors/errors.ts'

/** What the kernel's `sun_path` has room for, its end not counted, and as upstream has it. */
const longestPath = 106

/** @throws `invalid_argument` for the path of a socket that is too long. */
export function checkSocketPath(path: string): void {
  if (path.length <= longestPath) return
  throw invalidArgument(`shim socket path "${path}" is longer than ${longestPath} characters`)
}
