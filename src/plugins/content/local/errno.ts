import { isErrno, type SystemError } from '#sys/errno.ts'

/** Whether `err` says that there is no such file. */
export const isMissing = (err: unknown): err is SystemError => isErrno(err, 'ENOENT')
