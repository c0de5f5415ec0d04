import { closeSync, constants, openSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { deadlineExceeded } from '#lib/errors/errors.ts'
import { tryLock } from '#sys/flock.ts'

import { isServed } from './socket.ts'

const lockMs = 5_000
const retryMs = 5

/**
 * Locks the directory of `socket` among shim hosts, while one makes or removes a socket in it.
 *
 * @throws `deadline_exceeded` after 5 s.
 */
export async function lockSocketDir(socket: string): Promise<Disposable> {
  const dir = dirname(socket)
  using undo = new DisposableStack()
  const fd = openSync(dir, constants.O_RDONLY | constants.O_DIRECTORY)
  undo.defer(() => closeSync(fd))
  const deadline = performance.now() + lockMs
  while (!tryLock(fd, true)) {
    if (performance.now() > deadline) throw deadlineExceeded(`lock of ${dir}`)
    await sleep(retryMs)
  }
  return undo.move()
}

/** Clears the way for a new socket, under the lock; `false` when a living host has this one. */
export async function claimSocket(path: string): Promise<boolean> {
  if (await isServed(path)) return false
  rmSync(path, { force: true })
  return true
}
