import { resourceExhausted } from '#lib/errors/errors.ts'

import { isFull } from './has-errno.ts'

/** `err`, or what to tell a client when it says that the disk or a quota is full, naming `path`. */
export function fullDisk(err: unknown, path: string): unknown {
  if (!isFull(err)) return err
  return resourceExhausted(`write ${path}: no space left on device`, { cause: err })
}
