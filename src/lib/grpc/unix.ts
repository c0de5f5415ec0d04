import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, chown, mkdir, rm } from 'node:fs/promises'
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
export async function prepareSocket(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o770 })
  await rm(path, { force: true })
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
  await prepareSocket(path)
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
export async function ownSocket(path: string, owner: SocketOwner): Promise<void> {
  await chmod(path, owner.mode ?? 0o660)
  await chown(path, owner.uid, owner.gid)
}
