import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Context } from '#core/context.ts'
import type { CredentialSource, Credentials } from '#core/remotes/remotes.ts'
import type { Stream } from '#core/streaming/streaming.ts'
import { AuthRequestSchema, AuthResponseSchema, AuthType } from '#gen/types/transfer/registry_pb.ts'
import { holds, pack, unpack } from '#proxy/convert/pack.ts'

/**
 * Answers a daemon that asks who one is at a registry, until the stream ends. The protocol has no
 * word for "I cannot tell": @param fail hears what `source` throws, and nothing is answered.
 */
export async function answerCredentials(
  ctx: Context,
  stream: Stream,
  source: CredentialSource,
  fail: (err: unknown) => void,
): Promise<void> {
  for (;;) {
    const question = await stream.receive(ctx)
    if (!question) return
    if (!holds(question, AuthRequestSchema)) continue
    const { host } = unpack(AuthRequestSchema, question)
    let found: Credentials | undefined
    try {
      found = await source(ctx, host)
    } catch (err) {
      fail(err)
      return
    }
    await stream.send(ctx, pack(AuthResponseSchema, answerOf(found)))
  }
}

function answerOf(
  credentials: Credentials | undefined,
): MessageInitShape<typeof AuthResponseSchema> {
  if (!credentials) return { authType: AuthType.NONE }
  if (credentials.kind === 'refresh') {
    return { authType: AuthType.REFRESH, secret: credentials.token }
  }
  if (credentials.kind === 'header') {
    return { authType: AuthType.HEADER, secret: credentials.value }
  }
  const { username, secret } = credentials
  return { authType: AuthType.CREDENTIALS, username, secret }
}
