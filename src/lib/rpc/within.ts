/** Whether `done` settles within `ms`; a rejection is passed on. */
export async function within(done: Promise<unknown>, ms: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  using _ = setTimeout(() => resolve(false), ms)
  return await Promise.race([done.then((): boolean => true), promise])
}
