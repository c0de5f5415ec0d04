import { closeSync, fchmodSync } from 'node:fs'
import { copyFile } from 'node:fs/promises'

import { isErrno } from './errno.ts'
import { checked, native } from './libc.ts'

const cMemfdCreate: (...args: [string, number]) => number = native(
  'int memfd_create(const char *name, uint flags)',
)
const fcntl: (...args: [number, number, number]) => number = native(
  'int fcntl(int fd, int command, long argument)',
)

const MFD_CLOEXEC = 1
const MFD_ALLOW_SEALING = 2
const MFD_EXEC = 16
const F_ADD_SEALS = 1033
const F_GET_SEALS = 1034
/** No further seals, no smaller, no larger, no writes. */
const allSeals = 1 | 2 | 4 | 8

/**
 * A copy in memory of the program at `path` that can be executed, and that nobody can change, not
 * even with the descriptor.
 *
 * @returns a descriptor that is closed on exec, so a script cannot be executed by its name in /proc.
 * @throws {SystemError} also when this machine allows no programs in memory.
 */
export async function sealedCopy(path: string, name: string): Promise<number> {
  const fd = create(name)
  try {
    await copyFile(path, `/proc/self/fd/${fd}`)
    fchmodSync(fd, 0o500)
    checked(fcntl(fd, F_ADD_SEALS, allSeals), 'fcntl')
    return fd
  } catch (err) {
    closeSync(fd)
    throw err
  }
}

/** Whether what is open as `fd` can never change. */
export const isSealed = (fd: number): boolean => fcntl(fd, F_GET_SEALS, 0) === allSeals

/** Kernels before 6.3 know no `MFD_EXEC`, and need none. */
function create(name: string): number {
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING
  try {
    return checked(cMemfdCreate(name, flags | MFD_EXEC), 'memfd_create')
  } catch (err) {
    if (!isErrno(err, 'EINVAL')) throw err
    return checked(cMemfdCreate(name, flags), 'memfd_create')
  }
}
