import type { Connection } from '#lib/rpc/rpc.ts'

/** One call, and what it is called. What it answers is compared between two daemons. */
export type Step = readonly [title: string, call: () => unknown]

/** The calls for one service, in order: later ones build on what earlier ones left. */
export type Steps = (connection: Connection) => readonly Step[]

/** The namespace of every call that has one. */
export const inside = { metadata: { 'containerd-namespace': 'wire' } }

/** A label that is longer than labels may be. */
export const longLabels = { key: 'v'.repeat(5000) }

/** A filter that is none. */
export const badFilters = ['=']

/** For answers that name directories of the daemon: that there is one is all that is compared. */
export async function succeeds(call: Promise<unknown>): Promise<string> {
  await call
  return 'done'
}
