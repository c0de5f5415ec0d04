import { createRequire } from 'node:module'

import type * as Koffi from 'koffi'

import { toBytes } from '#lib/bytes/byte-string.ts'

import { type Operands, systemError } from './errno.ts'

/** What can be handed to a native function; arrays are handed over as their memory. */
export type Argument =
  | number
  | bigint
  | string
  | null
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | Int32Array
  | BigInt64Array
  | BigUint64Array

/** A native function, its results of 64 bits fitting a double. */
export type Native = (...args: Argument[]) => number

let loadedKoffi: typeof Koffi | undefined
let loadedLibc: Koffi.LibraryHandle | undefined

/** The native bridge; loading it takes some ms, so nothing does before its first call. */
function koffi(): typeof Koffi {
  loadedKoffi ??= requireKoffi()
  return loadedKoffi
}

/** Its native part alone, which has all that is used here; the package finds it for any C library. */
function requireKoffi(): typeof Koffi {
  const require = createRequire(import.meta.url)
  const { arch } = process
  try {
    return require(`@koromix/koffi-linux-${arch}/linux_${arch}/koffi.node`)
  } catch {
    return require('koffi')
  }
}

function libc(): Koffi.LibraryHandle {
  loadedLibc ??= koffi().load(null)
  return loadedLibc
}

/** A function of libc, bound at its first call. */
export function native(prototype: string): Native {
  let bound: Native | undefined
  return (...args) => {
    bound ??= libc().func(prototype)
    return bound(...args)
  }
}

/** A system call that older C libraries have no function for; `types` are those of its arguments. */
export function systemCall(number: number, types: readonly string[]): Native {
  let bound: Native | undefined
  return (...args) => {
    bound ??= libc().func('syscall', 'long', ['long', ...types])
    return bound(number, ...args)
  }
}

/** A native function on a thread of its own: what it gives is checked, with the name of the call. */
export type BackgroundNative = (syscall: string, ...args: Argument[]) => Promise<number>

/**
 * A function of libc that may take long, run beside the event loop; bound at its first call. Memory
 * handed to it must not change until then. It rejects with a `SystemError`.
 */
export function background(prototype: string): BackgroundNative {
  let bound: ReturnType<Koffi.LibraryHandle['func']> | undefined
  return async (syscall, ...args) => {
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    bound ??= libc().func(prototype)
    // The bridge hands `errno` of the other thread on, for as long as this function runs.
    bound.async(...args, (err: Error | null, result: number) => {
      if (err) reject(err)
      else if (result < 0) reject(systemError(koffi().errno(), syscall))
      else resolve(result)
    })
    return await promise
  }
}

/** `result` of a call just made. @throws {SystemError} when it says the call failed. */
export function checked(result: number, syscall: string, operands?: Operands): number {
  if (result < 0) throw systemError(koffi().errno(), syscall, operands)
  return result
}

/** Like `checked`, repeating the call while a signal interrupts it. */
export function uninterrupted(call: () => number, syscall: string, operands?: Operands): number {
  for (;;) {
    const result = call()
    if (result >= 0) return result
    const errno = lastErrno()
    if (errno !== EINTR) throw systemError(errno, syscall, operands)
  }
}

const EINTR = 4

/** `errno` of the call just made; nothing else may run between. */
export const lastErrno = (): number => koffi().errno()

/** Where the memory of `bytes` is, for structures that hold pointers; `bytes` must outlive the use. */
export const addressOf = (bytes: Uint8Array): bigint => koffi().address(bytes)

/** `path` as a C string; see `#lib/bytes/byte-string.ts` for names that are not UTF-8. */
export function cString(path: string): string | Uint8Array {
  if (path.includes('\0')) throw systemError(EINVAL, 'path', { path })
  return path.isWellFormed() ? path : Buffer.concat([toBytes(path), Buffer.of(0)])
}

const EINVAL = 22
