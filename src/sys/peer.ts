import type { Socket } from 'node:net'

import { checked, native } from './libc.ts'

/** Who is at the other end of a unix socket, as of its connect(2). */
export interface PeerCredentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

const getsockopt: (...args: [number, number, number, Uint32Array, Uint32Array]) => number = native(
  'int getsockopt(int fd, int level, int option, void *value, void *size)',
)
const SOL_SOCKET = 1
const SO_PEERCRED = 17

/** SO_PEERCRED of unix(7). @throws {SystemError} */
export function peerCredentials(fd: number): PeerCredentials {
  const value = new Uint32Array(3)
  const size = Uint32Array.of(value.byteLength)
  checked(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, size), 'getsockopt')
  const [pid = 0, uid = 0, gid = 0] = value
  return { pid, uid, gid }
}

/** The descriptor of a connected socket, which stays the socket's. @throws {Error} when it is closed. */
export function socketFd(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle')
  const fd: unknown = typeof handle === 'object' && handle ? Reflect.get(handle, 'fd') : undefined
  if (typeof fd !== 'number' || fd < 0) throw new Error('the socket has no descriptor')
  return fd
}
