import type { Logger } from '#core/context.ts'

import { PipeStdio } from './pipes.ts'
import { isSinkUri } from './sink.ts'
import type { ProcessOwner, ProcessStdio, StdioPaths } from './stdio.ts'

/** Opens the streams of a process. Code for terminals and logs is loaded with the first one. */
export async function openStdio(
  paths: StdioPaths,
  owner: ProcessOwner,
  log: Logger,
): Promise<ProcessStdio> {
  if (paths.terminal) {
    const { TerminalStdio } = await import('./terminal.ts')
    return await TerminalStdio.open(paths, owner, log)
  }
  if (isSinkUri(paths.stdout)) {
    const { LoggedStdio } = await import('./logged.ts')
    return await LoggedStdio.open(paths, owner, log)
  }
  return new PipeStdio(paths, owner)
}
