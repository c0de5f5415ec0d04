import { PipeStdio } from './pipes.ts'
import type { ProcessStdio, StdioPaths } from './stdio.ts'

/** Opens the streams of a process. Code for terminals is loaded with the first one. */
export async function openStdio(paths: StdioPaths): Promise<ProcessStdio> {
  if (!paths.terminal) return new PipeStdio(paths)
  const { TerminalStdio } = await import('./terminal.ts')
  return await TerminalStdio.open(paths)
}
