import type { Context } from '#core/context.ts'
import { CodedError, codeOf, hasCode, notFound } from '#lib/errors/errors.ts'

import type { Endpoint } from './endpoint.ts'
import { type Capability, canDo, isProxyFor } from './profile.ts'
import type { Reference } from './reference.ts'
import type { Timeouts } from './transport.ts'

/** One repository, and the hosts that serve it. */
export interface Repository {
  readonly reference: Reference
  /** In the order in which they are asked. */
  readonly endpoints: readonly Endpoint[]
  readonly timeouts: Timeouts
}

/** The hosts that can do `wanted`. @throws `not_found` when none can. */
export function endpointsFor(
  { endpoints, reference }: Repository,
  ...wanted: readonly Capability[]
): readonly Endpoint[] {
  const able = endpoints.filter(({ profile }) => canDo(profile, ...wanted))
  if (able.length > 0) return able
  throw notFound(
    `no host of ${reference.host} may be asked for ${wanted.join(' and ')}: see its hosts.toml`,
  )
}

/** The query that tells a mirror whom it stands in for. */
export const namespaceQuery = (
  { reference }: Repository,
  { profile }: Endpoint,
): readonly (readonly [string, string])[] =>
  isProxyFor(profile, reference.host) ? [['ns', reference.host]] : []

/** How far a failed attempt came: the error that came furthest tells most. Source: upstream `Resolve`. */
const progress = (err: unknown): number => {
  const code = codeOf(err)
  if (code === undefined || code === 'unavailable' || code === 'failed_precondition') return 1
  return code === 'not_found' ? 2 : 3
}

export interface AskOptions {
  /** Hosts need not have it: that one has not is no news. */
  readonly mayLack?: boolean
}

/**
 * Asks one host after the other until one has an answer.
 *
 * @throws the error of the host that came furthest, the first of several: one that refuses says more
 * than one that knows nothing, and that one more than one that cannot be reached. The others are named.
 */
export async function firstOf<T>(
  ctx: Context,
  endpoints: readonly Endpoint[],
  ask: (endpoint: Endpoint, isLast: boolean) => Promise<T>,
  { mayLack = false }: AskOptions = {},
): Promise<T> {
  const failures: Error[] = []
  for (const [i, endpoint] of endpoints.entries()) {
    try {
      return await ask(endpoint, i === endpoints.length - 1)
    } catch (err) {
      if (ctx.signal.aborted || !(err instanceof Error)) throw err
      const level = mayLack && hasCode(err, 'not_found') ? 'debug' : 'info'
      ctx.log[level]('registry host failed', { host: endpoint.profile.host, error: err.message })
      failures.push(err)
    }
  }
  throw furthest(failures)
}

function furthest(failures: readonly Error[]): Error {
  const best = failures.reduce((a, b) => (progress(b) > progress(a) ? b : a))
  const others = failures.filter((failure) => failure !== best)
  if (others.length === 0) return best
  const rest = others.map(({ message }) => message).join('; ')
  const message = `${best.message} (before or after that: ${rest})`
  return new CodedError(codeOf(best) ?? 'unknown', message, { cause: best })
}
