import { endianness } from 'node:os'
import { closeSync } from 'node:fs'

import { systemError } from './errno.ts'
import { addressOf, lastErrno, native } from './libc.ts'

/** A descriptor that came over a unix socket, and the bytes that came with it. */
export interface ReceivedFd {
  /** Ours now, closed on exec. */
  readonly fd: number
  /** The text beside it; runc sends the path of the terminal. */
  readonly name: string
}

const recvmsg: (...args: [number, Uint8Array, number]) => number = native(
  'long recvmsg(int fd, void *message, int flags)',
)

const SOL_SOCKET = 1
const SCM_RIGHTS = 1
const MSG_DONTWAIT = 0x40
const MSG_CMSG_CLOEXEC = 0x40000000
const EAGAIN = 11
const EINTR = 4
const controlHeader = 16

/**
 * Takes one descriptor (SCM_RIGHTS) from a connected socket, `undefined` while none is there.
 * Any further ones in the same message are closed.
 *
 * @throws {SystemError} `ECONNRESET` when the other side hung up without sending one.
 */
export function recvFd(socket: number): ReceivedFd | undefined {
  const name = Buffer.alloc(4096)
  const control = Buffer.alloc(256)
  const message = messageHeader(name, control)
  for (;;) {
    const length = recvmsg(socket, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
    const errno = length < 0 ? lastErrno() : 0
    if (errno === EAGAIN) return undefined
    if (errno === EINTR) continue
    if (errno !== 0) throw systemError(errno, 'recvmsg')
    const [fd, ...more] = descriptors(control)
    for (const extra of more) closeSync(extra)
    if (fd !== undefined) return { fd, name: name.toString('utf8', 0, length) }
    if (length === 0) throw systemError(104, 'recvmsg')
  }
}

/**
 * struct msghdr of 64-bit Linux, with its iovec behind it:
 *
 *      0 name pointer    8 name length   16 iovec pointer   24 iovec count
 *     32 control pointer 40 its length   48 flags           56 iovec: pointer, length
 */
function messageHeader(data: Uint8Array, control: Uint8Array): Uint8Array {
  const message = new Uint8Array(72)
  const words = new BigUint64Array(message.buffer)
  words[2] = addressOf(message) + 56n
  words[3] = 1n
  words[4] = addressOf(control)
  words[5] = BigInt(control.length)
  words[7] = addressOf(data)
  words[8] = BigInt(data.length)
  return message
}

/** struct cmsghdr: u64 length with the header, i32 level, i32 type, then the descriptors as i32. */
function descriptors(control: Buffer): readonly number[] {
  const little = endianness() === 'LE'
  const view = new DataView(control.buffer, control.byteOffset, control.length)
  const length = Number(view.getBigUint64(0, little))
  const isRights =
    view.getInt32(8, little) === SOL_SOCKET && view.getInt32(12, little) === SCM_RIGHTS
  if (!isRights || length > control.length) return []
  const count = Math.floor((length - controlHeader) / 4)
  return Array.from({ length: count }, (_, i) => view.getInt32(controlHeader + i * 4, little))
}
