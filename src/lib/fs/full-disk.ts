import { resourceExhausted } from '#lib/errors/errors.ts'

import { isFull } from './has-errno.ts'

/** `err`, or what to tell a client when it says that the disk or a quota is full, naming `path`. */
export function fullDisk(err: unknown, path: string): unknown {
  if (!isFull(err)) return err
  return resourceExhausted(`write ${path}: no space left on device`, { cause: err })
}

/**
 * Whether `err`, or what it wraps, says that there is no room: one that came over a connection by its words, as
 * they are above or the kernel's.
 */
export function saysFull(err: unknown): boolean {
  for (let next = err; next instanceof Error; next = next.cause) {
    if (isFull(next) || /no space left on device|disk quota exceeded/.test(next.message))
      return true
  }
  return false
}
