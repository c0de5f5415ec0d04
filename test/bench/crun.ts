import { describe } from '#lib/errors/errors.ts'

import type { Subject } from './row.ts'

/** Options of `ctr run`. */
export const withCrun = ['--runc-binary', 'crun'] as const

/** A daemon whose containers crun runs, or why there is none. */
export interface Crun extends AsyncDisposable {
  readonly subject?: Subject
  readonly remark?: string
}

/**
 * Tries crun with the daemon of `subject`, and where it refuses the control groups of the machine with another
 * one that has none but those of version 1.
 */
export async function openCrun(subject: Subject): Promise<Crun> {
  await using scope = new AsyncDisposableStack()
  if (!subject.crun) return left('it is not installed')
  let found = subject
  let why = await refusal(found)
  if (why !== undefined && /hybrid/.test(why)) {
    found = scope.use(await subject.another({ legacyCgroups: true }))
    why = await refusal(found)
  }
  if (why !== undefined) return left(why)
  const owned = scope.move()
  return { subject: found, [Symbol.asyncDispose]: async () => await owned.disposeAsync() }
}

const left = (why: string): Crun => ({
  remark: `wharfd with crun: ${why}`,
  [Symbol.asyncDispose]: async () => {},
})

/** Warms up. @returns why crun runs nothing here. */
async function refusal({ ctr, image }: Subject): Promise<string | undefined> {
  try {
    for (const id of ['crun-0', 'crun-1']) await ctr('run', '--rm', ...withCrun, image, id, 'true')
    return undefined
  } catch (err) {
    await ctr('container', 'rm', 'crun-0').catch(() => {})
    return describe(err).trim().split('\n').at(-1) ?? ''
  }
}
