/** A command is not taken for hanging before this, whatever its caller has in store, ms. */
const leastMs = 1_000
/** How long before its caller stops waiting a command is given up with, at most, ms. */
const answerMs = 5_000
/** How long a command may take when the caller sets no limit: hooks of the container run in it, ms. */
const longestMs = 600_000

/**
 * Aborts when a command of the OCI runtime has had its time: somewhat before the caller's ends, who
 * then hears what hung. To be killed does a command no good: one is let finish whose caller was just
 * impatient.
 */
export function patienceUntil(deadline: number | undefined): AbortSignal {
  if (deadline === undefined) return AbortSignal.timeout(longestMs)
  const left = Math.max(0, deadline - Date.now())
  return AbortSignal.timeout(Math.round(Math.max(leastMs, left * 0.9, left - answerMs)))
}
