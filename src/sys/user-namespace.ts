import { openSync, writeFileSync } from 'node:fs'

import { addressOf, checked, native, uninterrupted } from './libc.ts'

const dlsym: (...args: [null, string]) => number = native(
  'uintptr_t dlsym(void *handle, const char *symbol)',
)
const clone: (...args: [number, bigint, number, null]) => number = native(
  'int clone(uintptr_t fn, uintptr_t stack, int flags, void *arg)',
)
const waitpid: (...args: [number, null, number]) => number = native(
  'int waitpid(int pid, void *status, int options)',
)

const CLONE_VM = 0x100
const CLONE_NEWUSER = 0x10000000
/** Also children that send no signal when they end, as this one. */
const WALL = 0x40000000

const stackSize = 1 << 16

/**
 * A new user namespace whose ids `0 …` are those that `uidMap` and `gidMap` say, lines of three
 * numbers: id inside, id outside, how many. It lives as long as the descriptor and what is made with it.
 *
 * A namespace has to be made by a process of its own. This one is the cheapest there is: it borrows
 * this program's memory, with a stack of its own, and does nothing but `_exit`. The dead are enough:
 * until they are waited for /proc has their namespaces, and nobody else's.
 *
 * @throws {SystemError} `ENOSPC` where there are too many, `EINVAL` of a file in /proc for a map that makes no sense.
 */
export function openUserNamespace(uidMap: string, gidMap: string): number {
  const stack = new Uint8Array(stackSize)
  const top = (addressOf(stack) + BigInt(stackSize)) & ~15n
  const flags = CLONE_NEWUSER | CLONE_VM
  const pid = checked(clone(dlsym(null, '_exit'), top, flags, null), 'clone')
  using reaping = new DisposableStack()
  reaping.defer(() => uninterrupted(() => waitpid(pid, null, WALL), 'waitpid'))
  writeFileSync(`/proc/${pid}/uid_map`, uidMap)
  writeFileSync(`/proc/${pid}/gid_map`, gidMap)
  return openSync(`/proc/${pid}/ns/user`, 'r')
}
