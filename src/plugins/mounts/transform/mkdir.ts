import { chmodSync, chownSync, closeSync, constants } from 'node:fs'

import type { Mount } from '#core/mount/mount.ts'
import { invalidArgument } from '#lib/errors/errors.ts'
import { isErrno } from '#sys/errno.ts'
import { mkdirat } from '#sys/file.ts'
import { openat2, Resolve } from '#sys/openat2.ts'
import { O_PATH } from '#sys/resolve.ts'

import { placeOf } from './roots.ts'

const prefix = 'X-containerd.mkdir.'

/** A directory that is asked for. */
interface Wanted {
  readonly path: string
  readonly mode: number
  /** Whose it shall be; this process's unless given. */
  readonly owner?: { readonly uid: number; readonly gid: number }
}

/** Makes the directories that the options of `mount` ask for, and gives it without those options. */
export function makeDirectories(mount: Mount, roots: readonly string[]): Mount {
  for (const option of mount.options) {
    if (option.startsWith(prefix)) makeDirectory(parse(option), roots)
  }
  return { ...mount, options: mount.options.filter((option) => !option.startsWith(prefix)) }
}

/** `X-containerd.mkdir.path=<dir>[:<mode>[:<uid>:<gid>]]` */
function parse(option: string): Wanted {
  const value = option.slice(prefix.length)
  const [path = '', mode = '700', uid, gid, ...rest] = value.slice('path='.length).split(':')
  const half = (uid === undefined) !== (gid === undefined)
  if (!value.startsWith('path=') || path === '' || rest.length > 0 || half) {
    throw invalidArgument(`invalid mkdir option ${JSON.stringify(option)}`)
  }
  if (!/^0*[0-7]{1,3}$/.test(mode)) throw invalidArgument(`invalid mode ${mode}`)
  return {
    path,
    mode: Number.parseInt(mode, 8),
    ...(uid === undefined || gid === undefined ? {} : { owner: { uid: id(uid), gid: id(gid) } }),
  }
}

function id(text: string): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : Infinity
  if (number < 2 ** 32 - 1) return number
  throw invalidArgument(`invalid uid or gid ${JSON.stringify(text)}`)
}

/** One that is there gets the mode and the owner all the same. */
function makeDirectory({ path, mode, owner }: Wanted, roots: readonly string[]): void {
  using place = placeOf(path, roots, 'mkdir')
  try {
    mkdirat(place.dir, place.name, mode)
  } catch (err) {
    if (!isErrno(err, 'EEXIST')) throw err
  }
  const flags = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW
  const fd = openat2(place.dir, place.name, { flags, resolve: Resolve.beneath })
  try {
    const made = `/proc/self/fd/${fd}`
    if (owner) chownSync(made, owner.uid, owner.gid)
    chmodSync(made, mode)
  } finally {
    closeSync(fd)
  }
}
