import { fromBytes } from '#lib/bytes/byte-string.ts'

import { systemError } from './errno.ts'
import { checked, cString, lastErrno, native } from './libc.ts'

type Text = string | Uint8Array

const setPrototype = (name: string, on: string): string =>
  `int ${name}(${on}, const char *name, const void *value, size_t size, int flags)`
const getPrototype = (name: string): string =>
  `long ${name}(const char *path, const char *name, void *value, size_t size)`
const listPrototype = (name: string): string =>
  `long ${name}(const char *path, void *list, size_t size)`

const cSet: (...args: [Text, Text, Uint8Array, number, number]) => number = native(
  setPrototype('setxattr', 'const char *path'),
)
const cLset: (...args: [Text, Text, Uint8Array, number, number]) => number = native(
  setPrototype('lsetxattr', 'const char *path'),
)
const cFset: (...args: [number, Text, Uint8Array, number, number]) => number = native(
  setPrototype('fsetxattr', 'int fd'),
)
const cGet: (...args: [Text, Text, Uint8Array | null, number]) => number = native(
  getPrototype('getxattr'),
)
const cLget: (...args: [Text, Text, Uint8Array | null, number]) => number = native(
  getPrototype('lgetxattr'),
)
const cList: (...args: [Text, Uint8Array | null, number]) => number = native(
  listPrototype('listxattr'),
)
const cLlist: (...args: [Text, Uint8Array | null, number]) => number = native(
  listPrototype('llistxattr'),
)
const cLremove: (...args: [Text, Text]) => number = native(
  'int lremovexattr(const char *path, const char *name)',
)

const ENODATA = 61
const ERANGE = 34

/** Sets an extended attribute, following symbolic links. @throws {SystemError} `ENOTSUP` */
export function setxattr(path: string, name: string, value: Uint8Array): void {
  checked(cSet(cString(path), cString(name), value, value.length, 0), 'setxattr', { path })
}

/** Sets an extended attribute of the file itself, also when it is a symbolic link. @throws {SystemError} `ENOTSUP` */
export function lsetxattr(path: string, name: string, value: Uint8Array): void {
  checked(cLset(cString(path), cString(name), value, value.length, 0), 'lsetxattr', { path })
}

/** Sets an extended attribute of an open file. @throws {SystemError} `ENOTSUP` */
export function fsetxattr(fd: number, name: string, value: Uint8Array): void {
  checked(cFset(fd, cString(name), value, value.length, 0), 'fsetxattr')
}

/** The value of an attribute, `undefined` when the file has none of that name. @throws {SystemError} */
export function getxattr(path: string, name: string): Uint8Array | undefined {
  const [file, key] = [cString(path), cString(name)]
  return sized((value, size) => cGet(file, key, value, size), 'getxattr', path)
}

/** Like `getxattr`, of the file itself when it is a symbolic link. @throws {SystemError} */
export function lgetxattr(path: string, name: string): Uint8Array | undefined {
  const [file, key] = [cString(path), cString(name)]
  return sized((value, size) => cLget(file, key, value, size), 'lgetxattr', path)
}

/** The names of the attributes. @throws {SystemError} */
export function listxattr(path: string): readonly string[] {
  const file = cString(path)
  return names(sized((list, size) => cList(file, list, size), 'listxattr', path))
}

/** Like `listxattr`, of the file itself when it is a symbolic link. @throws {SystemError} */
export function llistxattr(path: string): readonly string[] {
  const file = cString(path)
  return names(sized((list, size) => cLlist(file, list, size), 'llistxattr', path))
}

/** Takes an attribute away. @throws {SystemError} `ENODATA` when there is none. */
export function lremovexattr(path: string, name: string): void {
  checked(cLremove(cString(path), cString(name)), 'lremovexattr', { path })
}

/** Asks for the size, then for the value, and again when it has grown in between. */
function sized(
  call: (into: Uint8Array | null, size: number) => number,
  syscall: string,
  path: string,
): Uint8Array | undefined {
  for (;;) {
    const size = call(null, 0)
    if (size < 0) return absent(lastErrno(), syscall, path)
    if (size === 0) return new Uint8Array()
    const value = Buffer.alloc(size)
    const length = call(value, size)
    if (length >= 0) return value.subarray(0, length)
    const errno = lastErrno()
    if (errno !== ERANGE) return absent(errno, syscall, path)
  }
}

function absent(errno: number, syscall: string, path: string): undefined {
  if (errno !== ENODATA) throw systemError(errno, syscall, { path })
  return undefined
}

/** Names come one after the other, each ended by a NUL. */
function names(list: Uint8Array = new Uint8Array()): readonly string[] {
  return fromBytes(list).split('\0').filter(Boolean)
}
