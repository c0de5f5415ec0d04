import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Session } from '#client/session.ts'
import { withTimeout } from '#core/context.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'
import { CodedError, codeOf, hasCode } from '#lib/errors/errors.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'

/** How long one answer may take, ms. */
const answerMs = 5_000
/** How long a daemon may be away before nobody waits for its answer any more, ms. */
const awayMs = 60_000
/** Between two questions to a daemon that is away, ms. */
const retryMs = 200

/**
 * When the process began that has this pid, in the kernel's ticks; `undefined` for none, and for one
 * that has ended. A pid with its start is one process only.
 */
export async function startOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch((err: unknown) => {
    if (hasErrno(err, 'ENOENT', 'ESRCH')) return ''
    throw err
  })
  // The name, in parentheses, may itself contain any character.
  const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return state === 'Z' || state === 'X' ? undefined : fields[18]
}

/**
 * Whether the first process of a container lives, asked of the daemon, which may be just restarted
 * and may have just lost the shim: then it is asked again, for a minute.
 *
 * @throws the reason of the signal; `unavailable` when nobody can tell.
 */
export async function livesStill(
  session: Session,
  id: string,
  options: AbortOptions,
): Promise<boolean> {
  const until = performance.now() + awayMs
  for (;;) {
    try {
      return await ask(session, id, options)
    } catch (err) {
      options.signal?.throwIfAborted()
      if (!isAway(err)) throw err
      if (performance.now() > until) throw cannotTell(id, err)
    }
    await sleep(retryMs, undefined, options)
  }
}

async function ask(session: Session, id: string, options: AbortOptions): Promise<boolean> {
  const again = await session.again(options)
  await using _ = again.connection
  const ctx = withTimeout(again.context(options), answerMs)
  try {
    const task = await again.tasks.get(ctx, id)
    return (await task.state(ctx)).status !== 'stopped'
  } catch (err) {
    if (hasCode(err, 'not_found')) return false
    throw err
  }
}

/** A call ends with its own time, too, and with the connection. */
function isAway(err: unknown): boolean {
  const code = codeOf(err)
  const isLate = err instanceof Error && err.name === 'TimeoutError'
  return isLate || code === 'unavailable' || code === 'deadline_exceeded' || code === 'canceled'
}

const cannotTell = (id: string, cause: unknown): Error =>
  new CodedError(
    'unavailable',
    `follow the log of container ${id}: nobody has been able to tell for ${awayMs / 1000} s ` +
      'whether it still runs; follow again when the daemon and its shim are back',
    { cause },
  )
