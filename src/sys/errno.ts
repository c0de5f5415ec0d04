import { getSystemErrorMap } from 'node:util'

/** An error of the kernel, in the shape Node gives its own. */
export interface SystemError extends Error {
  /** The name of the error: `ENOENT`. */
  readonly code: string
  /** The number of the error, negative as in Node: -2. */
  readonly errno: number
  /** The call that failed: `mount`. */
  readonly syscall: string
  readonly path?: string
  readonly dest?: string
}

/** What a failed call worked on; `dest` is the second path of calls that have two. */
export interface Operands {
  readonly path?: string | undefined
  readonly dest?: string | undefined
}

/** Node makes a new map for each who asks. */
let knownErrors: ReturnType<typeof getSystemErrorMap> | undefined

/** What files and quotas fail with and Node has no name for, by number, negative. */
const unnamed: ReadonlyMap<number, readonly [string, string]> = new Map([
  [-122, ['EDQUOT', 'disk quota exceeded']],
])

/** The error for `errno` (positive, as the kernel has it): `ENOENT: no such file or directory, mount '/x'`. */
export function systemError(errno: number, syscall: string, operands: Operands = {}): SystemError {
  knownErrors ??= getSystemErrorMap()
  const known = knownErrors.get(-errno) ?? unnamed.get(-errno)
  const [code, text] = known ?? [`E${errno}`, 'unknown error']
  const { path, dest } = operands
  const from = path === undefined ? '' : ` '${path}'`
  const to = dest === undefined ? '' : ` -> '${dest}'`
  const error = new Error(`${code}: ${text}, ${syscall}${from}${to}`)
  return Object.assign(error, {
    code,
    errno: -errno,
    syscall,
    ...(path === undefined ? {} : { path }),
    ...(dest === undefined ? {} : { dest }),
  })
}

/** Whether `err` is a system error with one of these names. */
export function isErrno(err: unknown, ...codes: readonly string[]): err is SystemError {
  if (!(err instanceof Error) || !('code' in err)) return false
  return typeof err.code === 'string' && codes.includes(err.code)
}
