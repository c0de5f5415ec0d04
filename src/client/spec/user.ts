import { invalidArgument, unimplemented } from '#lib/errors/errors.ts'

import type { User } from './types.ts'

/** What runc takes; the kernel would take more. Source: upstream `WithUser`. */
const maxId = 2 ** 31 - 1
const numeric = /^[+-]?[0-9]+$/

/**
 * The user that an image's `USER` or a caller means: `uid`, `uid:gid`, `root`, or empty for root.
 *
 * What looks like a number is one, and is never looked up as a name: an `/etc/passwd` inside the
 * image may hold an entry of that name with another id.
 *
 * @throws `invalid_argument` for an id out of range or more than one colon; `unimplemented` for
 * names, which only somebody who can read the image's files could look up.
 */
export function parseUser(given: string): User {
  if (given === '') return user(0, 0)
  const parts = given.split(':')
  if (parts.length > 2) {
    throw invalidArgument(`invalid USER value ${JSON.stringify(given)}`)
  }
  const [name = '', group] = parts
  const uid = idOf(name, 'uid', given)
  return user(uid, group === undefined ? 0 : idOf(group, 'gid', given))
}

const user = (uid: number, gid: number): User => ({ uid, gid, additionalGids: [gid] })

function idOf(part: string, what: 'uid' | 'gid', given: string): number {
  if (part === 'root') return 0
  if (!numeric.test(part)) {
    throw unimplemented(`looking up the name of USER ${JSON.stringify(given)}; give numbers`)
  }
  const id = Number(part)
  if (id >= 0 && id <= maxId) return id
  throw invalidArgument(`invalid USER value ${JSON.stringify(given)}: ${what} out of range`)
}
