import type { Logger } from '#core/context.ts'
import { isJsonFileUri } from '#core/logs/json-file.ts'

import type { ProcessOwner } from './stdio.ts'

/** What takes a process's output from pipes: a logger, or the built-in log driver. */
export interface OutputSink {
  /** Resolves when it has taken everything, or will take no more. */
  readonly ended: Promise<void>
  /** Ends it, whatever is still to come. */
  close(): void
}

/** Whether output to `uri` goes through pipes to somebody who logs it. */
export const isSinkUri = (uri: string): boolean =>
  uri.startsWith('binary:') || uri.startsWith('binary-v2:') || isJsonFileUri(uri)

/**
 * Has the output logged that comes from the reading ends of two pipes, which belong to the sink from
 * here on, also when it cannot be opened. Code for each kind is loaded with the first one.
 *
 * @throws `invalid_argument` for a bad URI; why nobody logs.
 */
export async function openSink(
  uri: string,
  owner: ProcessOwner,
  outputs: readonly [number, number],
  log: Logger,
): Promise<OutputSink> {
  if (isJsonFileUri(uri)) {
    const { openJsonFile } = await import('./json-file/log-thread.ts')
    return await openJsonFile(uri, outputs, log)
  }
  const { startLogger } = await import('./logger.ts')
  return await startLogger(uri, owner, outputs)
}
