import type { Logger } from '#core/context.ts'

import { AdoptedStdio, type FoundStdio } from './adopted.ts'
import type { ProcessOwner, ProcessStdio } from './stdio.ts'

/** Goes on with the streams of a process in `bundle` whose host was killed. */
export async function adoptStdio(
  bundle: string,
  found: FoundStdio,
  owner: ProcessOwner,
  log: Logger,
): Promise<ProcessStdio> {
  const { paths, pid, stdinClosed } = found
  if (!paths.terminal) return new AdoptedStdio(found, owner, log)
  const { AdoptedTerminal, takeTerminal } = await import('./adopted-terminal.ts')
  const master = takeTerminal(bundle, pid, log)
  if (master === undefined) return new AdoptedStdio(found, owner, log)
  return new AdoptedTerminal(master, { ...paths, stdinClosed }, owner, log)
}
