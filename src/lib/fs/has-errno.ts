/** Whether `err` is a system error with one of these names. */
export const hasErrno = (err: unknown, ...codes: readonly string[]): boolean =>
  err instanceof Error && 'code' in err && codes.includes(String(err.code))
