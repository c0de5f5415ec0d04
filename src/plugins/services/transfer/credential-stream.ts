import { type Context, withTimeout } from '#core/context.ts'
import type { CredentialSource, Credentials } from '#core/remotes/remotes.ts'
import type { Stream } from '#core/streaming/streaming.ts'
import {
  AuthRequestSchema,
  type AuthResponse,
  AuthResponseSchema,
  AuthType,
} from '#gen/types/transfer/registry_pb.ts'
import { Mutex } from '#lib/async/mutex.ts'
import { invalidArgument, unauthenticated } from '#lib/errors/errors.ts'
import { holds, pack, unpack } from '#proxy/convert/pack.ts'

/** How long a client may take to find credentials, in ms: it may ask a person. */
const answerMs = 120_000

/**
 * Credentials that the client of a transfer has, asked for when a registry wants some:
 *
 *   server   AuthRequest host, reference      ·
 *   client                               AuthResponse kind, user, secret
 *
 * One question at a time, since answers name none. Source: upstream `core/transfer/registry`.
 */
export function streamCredentials(stream: Stream, reference: string): CredentialSource {
  const turns = new Mutex()
  return async (ctx, host) => {
    using _turn = await turns.lock(ctx)
    return await ask(withTimeout(ctx, answerMs), stream, { host, reference })
  }
}

async function ask(
  ctx: Context,
  stream: Stream,
  question: { readonly host: string; readonly reference: string },
): Promise<Credentials | undefined> {
  await stream.send(ctx, pack(AuthRequestSchema, question))
  const answer = await stream.receive(ctx)
  if (!answer) {
    throw unauthenticated(`credentials for ${question.host}: the client has closed their stream`)
  }
  if (!holds(answer, AuthResponseSchema)) {
    throw invalidArgument(`credentials for ${question.host}: unexpected type ${answer.typeUrl}`)
  }
  return credentialsOf(unpack(AuthResponseSchema, answer))
}

/** A client that knows of nothing says so with an empty secret, whatever the kind. */
function credentialsOf({ authType, username, secret }: AuthResponse): Credentials | undefined {
  if (secret === '' && username === '') return undefined
  switch (authType) {
    case AuthType.CREDENTIALS:
      return { kind: 'password', username, secret }
    case AuthType.REFRESH:
      return { kind: 'refresh', token: secret }
    case AuthType.HEADER:
      return { kind: 'header', value: secret }
    case AuthType.NONE:
    default:
      return undefined
  }
}
