import { closeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

import { checked, native } from '#sys/libc.ts'

const cSocket = native('int socket(int domain, int type, int protocol)')
const cBind = native('int bind(int fd, void *address, uint length)')
const cRecv = native('long recv(int fd, _Out_ void *data, size_t size, int flags)')

const AF_UNIX = 1
const SOCK_DGRAM_CLOEXEC = 0o2000002
const MSG_DONTWAIT = 0x40
const pollMs = 20

/** A service manager's end of sd_notify(3): the datagrams that come to a path. */
export interface NotifySocket extends Disposable {
  /** The next one, in order. */
  next(signal: AbortSignal): Promise<string>
}

/** Binds a datagram socket at `path`, which must not exist. */
export function bindNotifySocket(path: string): NotifySocket {
  const fd = checked(cSocket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0), 'socket')
  const address = Buffer.concat([
    new Uint8Array(new Uint16Array([AF_UNIX]).buffer),
    Buffer.from(path),
  ])
  checked(cBind(fd, address, address.length), 'bind', { path })
  const data = Buffer.alloc(4096)
  return {
    async next(signal) {
      for (;;) {
        const length = cRecv(fd, data, data.length, MSG_DONTWAIT)
        if (length >= 0) return data.toString('utf8', 0, length)
        await sleep(pollMs, undefined, { signal })
      }
    },
    [Symbol.dispose]: () => closeSync(fd),
  }
}
