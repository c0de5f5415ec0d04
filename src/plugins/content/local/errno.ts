import { type CodedError, resourceExhausted } from '#lib/errors/errors.ts'
import { isErrno, type SystemError } from '#sys/errno.ts'

/** Whether `err` says that there is no such file. */
export const isMissing = (err: unknown): err is SystemError => isErrno(err, 'ENOENT')

/** `err`, or what to tell a client when the disk or a quota is full, naming `path`. */
export function fullDisk(err: unknown, path: string): unknown {
  if (!isErrno(err, 'ENOSPC', 'EDQUOT')) return err
  const full: CodedError = resourceExhausted(`write ${path}: no space left on device`, {
    cause: err,
  })
  return full
}
