import { closeSync } from 'node:fs'

import { checked, native } from './libc.ts'

const cSocket: (...args: [number, number, number]) => number = native(
  'int socket(int domain, int type, int protocol)',
)
const cSendto: (...args: [number, Uint8Array, number, number, Uint8Array, number]) => number =
  native('long sendto(int fd, void *data, size_t size, int flags, void *address, uint length)')

const AF_UNIX = 1
const SOCK_DGRAM = 2
const SOCK_CLOEXEC = 0o2000000
const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000
/** struct sockaddr_un: u16 family, then the path; an abstract name begins with a zero byte. */
const pathOffset = 2
const longestPath = 107

/**
 * Sends one datagram to the unix socket at `path`, `@name` for an abstract one, as sd_notify(3)
 * does. It never waits.
 *
 * @throws {SystemError} `ECONNREFUSED` and `ENOENT` when nobody listens, `EAGAIN` when its queue is full.
 */
export function sendDatagram(path: string, text: string): void {
  const name = Buffer.from(path.replace(/^@/, '\0'))
  if (name.length > longestPath) throw new RangeError(`socket path "${path}" is too long`)
  const address = Buffer.alloc(pathOffset + name.length)
  new Uint16Array(address.buffer, address.byteOffset, 1)[0] = AF_UNIX
  name.copy(address, pathOffset)
  const data = Buffer.from(text)
  const fd = checked(cSocket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), 'socket')
  try {
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL
    const sent = cSendto(fd, data, data.length, flags, address, address.length)
    checked(sent, 'sendto', { path })
  } finally {
    closeSync(fd)
  }
}
