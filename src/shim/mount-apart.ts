import { text } from 'node:stream/consumers'

import { deadlineExceeded } from '#lib/errors/errors.ts'
import type { Mount } from '#sys/mount.ts'

import { CommandError, CommandTimeout } from './runc/command-error.ts'
import { run } from './runc/command.ts'

/** What a process of its own is told to mount. */
interface Order {
  readonly mounts: readonly Mount[]
  readonly target: string
}

/**
 * Mounts as `mountAll` does, by a process of its own: one that waits for a file system can be killed,
 * and keeps nobody else waiting.
 *
 * @throws why it failed; what has not answered when `signal` aborted first.
 */
export async function mountApart(
  { mounts, target }: Order,
  source: string,
  signal: AbortSignal,
): Promise<void> {
  const input = JSON.stringify({ mounts, target } satisfies Order)
  try {
    await run(process.execPath, [process.argv[1] ?? '', 'mount'], { input, signal })
  } catch (err) {
    if (err instanceof CommandTimeout) {
      const why = `what is mounted at or above ${source} has not answered in time`
      const message = `mount ${source} at ${target}: ${why}; see to its server and try again`
      throw deadlineExceeded(message, { cause: err })
    }
    throw err instanceof CommandError && err.output ? new Error(err.output) : err
  }
}

/** The other side of `mountApart`: reads what to mount from stdin. @throws {SystemError} */
export async function mountAsTold(): Promise<undefined> {
  const { mountAll } = await import('#sys/mount.ts')
  const { mounts, target }: Order = JSON.parse(await text(process.stdin))
  mountAll(mounts, target)
}
