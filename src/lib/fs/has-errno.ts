/** Whether `err` is a system error with one of these names. */
export const hasErrno = (err: unknown, ...codes: readonly string[]): boolean =>
  err instanceof Error && 'code' in err && codes.includes(String(err.code))

/** Linux's `EDQUOT`, negative as in Node, which has no name for it: its errors say `UNKNOWN`. */
const overQuota = -122

/** Whether `err` is a system error that says there is no room, or none for this user, group or tree. */
export const isFull = (err: unknown): boolean =>
  hasErrno(err, 'ENOSPC', 'EDQUOT') ||
  (err instanceof Error && 'errno' in err && err.errno === overQuota)
