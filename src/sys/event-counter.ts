import { closeSync } from 'node:fs'
import { Socket } from 'node:net'

import { pipe } from './fifo.ts'
import { checked, native } from './libc.ts'

const dup3: (...args: [number, number, number]) => number = native(
  'int dup3(int from, int to, int flags)',
)
const cEventfd: (...args: [number, number]) => number = native(
  'int eventfd(uint initial, int flags)',
)
const O_CLOEXEC = 0o2000000
const EFD_CLOEXEC = 0o2000000
const EFD_NONBLOCK = 0o4000

/** A counter of the kernel's that the event loop waits for. */
export interface EventCounter extends Disposable {
  /** What the kernel is told to count on. */
  readonly fd: number
}

/**
 * Opens a counter (eventfd); `onCount` is called soon after it was counted on, once for many counts.
 *
 * Node waits for files of a few kinds, and this is none of them. So it is given a pipe, whose
 * descriptor then becomes that of the counter before the loop has looked at it: reading works alike.
 *
 * @throws {SystemError}
 */
export function openEventCounter(onCount: () => void): EventCounter {
  using undo = new DisposableStack()
  const fd = checked(cEventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), 'eventfd')
  undo.defer(() => closeSync(fd))
  const { read, write } = pipe()
  closeSync(write)
  const socket = undo.adopt(
    new Socket({ fd: read, readable: true, writable: false }),
    (each) => void each.destroy(),
  )
  checked(dup3(fd, read, O_CLOEXEC), 'dup3')
  socket.on('data', onCount)
  socket.unref()
  const held = undo.move()
  return { fd, [Symbol.dispose]: () => held.dispose() }
}
