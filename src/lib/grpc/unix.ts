import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname } from 'node:path'

import { alreadyExists } from '#lib/errors/errors.ts'

/** Owner and mode of a unix socket. */
export interface SocketOwner {
  readonly uid: number
  readonly gid: number
  /** 0660 by default. */
  readonly mode?: number
}

/**
 * Makes room for a unix socket as containerd does: its directory (0770 if it is missing), and no
 * stale socket in it. The caller must know that nobody serves there any more.
 */
export function prepareSocket(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o770 })
  rmSync(path, { force: true })
}

/**
 * Makes room for a unix socket at `path`, unless somebody serves there.
 *
 * @throws `already_exists` when another process answers on it.
 */
export async function claimSocket(path: string, signal: AbortSignal): Promise<void> {
  if (existsSync(path) && (await answers(path, signal))) {
    throw alreadyExists(
      `socket "${path}" is in use by another process; stop it or choose another address`,
    )
  }
  prepareSocket(path)
}

/** How long to wait for whoever may serve on a socket, ms. */
const answerMs = 1_000

async function answers(path: string, signal: AbortSignal): Promise<boolean> {
  const socket = connect(path)
  try {
    await once(socket, 'connect', {
      signal: AbortSignal.any([signal, AbortSignal.timeout(answerMs)]),
    })
    return true
  } catch {
    return false // nobody is there, or nobody who answers
  } finally {
    socket.destroy()
  }
}

/** Gives a socket that is being listened on its mode and owner. */
export function ownSocket(path: string, owner: SocketOwner): void {
  chmodSync(path, owner.mode ?? 0o660)
  chownSync(path, owner.uid, owner.gid)
}
