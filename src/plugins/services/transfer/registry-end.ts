import type { Context } from '#core/context.ts'
import type { StreamManager } from '#core/streaming/streaming.ts'
import type { RegistryEnd } from '#core/transfer/transfer.ts'
import {
  HTTPDebug,
  type OCIRegistry,
  type RegistryResolver,
} from '#gen/types/transfer/registry_pb.ts'
import { describe, invalidArgument } from '#lib/errors/errors.ts'
import { sendBytes } from '#proxy/transfer/byte-stream.ts'

import { streamCredentials } from './credential-stream.ts'
import { HttpLog } from './http-log.ts'

/** How long a client that is slow to read the log of requests keeps its transfer waiting, in ms. */
const lastMs = 2000

/** A registry for one transfer. */
export interface OpenRegistry extends AsyncDisposable {
  readonly end: RegistryEnd
  /** For the transfer: says what is asked of the registry to whoever wants to hear it. */
  readonly ctx: Context
}

/**
 * The registry that a client means. Every transfer has a client of its own: who has which credentials
 * is only known by asking over the stream of that transfer, so no connection and no token may be used
 * for the next one.
 *
 * @throws `not_found` for a stream that is not open; `invalid_argument` for a scheme that is none.
 */
export async function openRegistry(
  ctx: Context,
  streams: StreamManager,
  { reference, resolver }: OCIRegistry,
  defaultHostsDirs: readonly string[],
): Promise<OpenRegistry> {
  await using scope = new AsyncDisposableStack()
  const hostDir = resolver?.hostDir ?? ''
  const authStream = resolver?.authStream ?? ''
  const scheme = schemeOf(resolver?.defaultScheme ?? '')
  const stream = authStream === '' ? undefined : streams.get(ctx, authStream)
  const own = resolver ? overheard(ctx, streams, resolver, scope) : ctx
  // Not needed before the first image moves; it takes a while to load.
  const { RegistryClient } = await import('#core/transfer/moving.ts')
  const remotes = scope.use(
    new RegistryClient({
      hostsDirs: hostDir === '' ? defaultHostsDirs : [hostDir],
      headers: { ...resolver?.headers },
      ...(scheme && { scheme }),
      ...(stream && { credentials: streamCredentials(stream, reference) }),
    }),
  )
  if (stream) scope.defer(() => stream.close())
  const all = scope.move()
  return {
    end: { reference, remotes },
    ctx: own,
    [Symbol.asyncDispose]: async () => await all.disposeAsync(),
  }
}

function schemeOf(text: string): 'http' | 'https' | undefined {
  if (text === '') return undefined
  if (text === 'http' || text === 'https') return text
  throw invalidArgument(
    `default_scheme ${JSON.stringify(text)} of a registry is neither http nor https`,
  )
}

/** A context that tells the client of requests, if it wants to know. */
function overheard(
  ctx: Context,
  streams: StreamManager,
  { httpDebug, logsStream }: RegistryResolver,
  scope: AsyncDisposableStack,
): Context {
  if (httpDebug === HTTPDebug.DISABLED || logsStream === '') return ctx
  const stream = streams.get(ctx, logsStream)
  const log = new HttpLog()
  const late = new AbortController()
  const signal = AbortSignal.any([ctx.signal, late.signal])
  const sending = sendBytes({ ...ctx, signal }, stream, log.bytes).catch((err: unknown) => {
    ctx.log.debug('log of requests not sent', { error: describe(err) })
  })
  scope.defer(async () => {
    log.end()
    using _late = setTimeout(() => late.abort(), lastMs)
    await sending
    stream.close()
  })
  return { ...ctx, log: log.around(ctx.log) }
}
