import { PipeStdio } from './pipes.ts'
import type { ProcessOwner, ProcessStdio, StdioPaths } from './stdio.ts'

/** Opens the streams of a process. Code for terminals and loggers is loaded with the first one. */
export async function openStdio(paths: StdioPaths, owner: ProcessOwner): Promise<ProcessStdio> {
  if (paths.terminal) {
    const { TerminalStdio } = await import('./terminal.ts')
    return await TerminalStdio.open(paths)
  }
  if (paths.stdout.startsWith('binary:')) {
    const { LoggerStdio } = await import('./logger.ts')
    return await LoggerStdio.open(paths, owner)
  }
  return new PipeStdio(paths, owner)
}
