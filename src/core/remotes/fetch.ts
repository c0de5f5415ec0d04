import { type Context, withTimeout } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { isIndex, isManifest } from '#core/images/oci.ts'
import { parseDigest } from '#lib/digest/digest.ts'
import { dataLoss, hasCode, notFound, resourceExhausted } from '#lib/errors/errors.ts'

import { encodingsOf, openBody } from './body.ts'
import { maxDocumentBytes } from './document.ts'
import type { Call, Endpoint } from './endpoint.ts'
import { type Answer, discard } from './exchange.ts'
import { cut } from './cut.ts'
import { refusal } from './refusal.ts'
import type { Body, FetchByDigestOptions, FetchOptions } from './remotes.ts'
import { endpointsFor, firstOf, namespaceQuery, type Repository } from './repository.ts'
import { repositoryScope } from './scope.ts'

/*
 *   manifests   GET <name>/manifests/<digest>                          never in ranges
 *   blobs       GET <name>/blobs/<digest>    Range: bytes=<offset>-
 *
 * Source: OCI distribution-spec, "Pulling manifests", "Pulling blobs"; upstream
 * `core/remotes/docker/fetcher.go`. URLs in a descriptor (foreign layers) are not followed: they
 * name any host there is.
 */

/** See `Fetcher.fetch`. */
export async function fetchContent(
  ctx: Context,
  repository: Repository,
  target: Descriptor,
  options: FetchOptions = {},
): Promise<Body> {
  parseDigest(target.digest)
  const isDocument = isManifest(target.mediaType) || isIndex(target.mediaType)
  if (isDocument && target.size > maxDocumentBytes) {
    throw resourceExhausted(
      `fetch ${target.digest}: a manifest of ${target.size} bytes, and it may have ${maxDocumentBytes}`,
    )
  }
  const kind = isDocument ? 'manifests' : 'blobs'
  const whole = target.size > 0 ? target.size : undefined
  return await firstOf(ctx, endpointsFor(repository, 'pull'), async (endpoint, isLast) => {
    const call = callFor(repository, endpoint, kind, target, isLast)
    const bounded = isDocument ? withTimeout(ctx, repository.timeouts.documentMs) : ctx
    return await open(bounded, repository, endpoint, call, whole, options)
  })
}

/** See `Fetcher.fetchByDigest`. */
export async function fetchByDigest(
  ctx: Context,
  repository: Repository,
  digest: string,
  options: FetchByDigestOptions = {},
): Promise<{ readonly target: Descriptor; readonly body: Body }> {
  parseDigest(digest)
  const mediaType = options.mediaType ?? 'application/octet-stream'
  const any: Descriptor = { mediaType, digest, size: 0 }
  const ask = async (kind: 'blobs' | 'manifests'): Promise<Body> =>
    await firstOf(ctx, endpointsFor(repository, 'pull'), async (endpoint, isLast) => {
      const call = callFor(repository, endpoint, kind, any, isLast)
      return await open(ctx, repository, endpoint, call, undefined, options)
    })
  const body = await ask('blobs').catch(async (err: unknown) => {
    if (!hasCode(err, 'not_found')) throw err
    return await ask('manifests')
  })
  return { target: { ...any, size: body.size ?? 0 }, body }
}

function callFor(
  repository: Repository,
  endpoint: Endpoint,
  kind: 'manifests' | 'blobs',
  { digest, mediaType }: Descriptor,
  isLastHost: boolean,
): Call {
  const { repository: name, text } = repository.reference
  return {
    method: 'GET',
    target: `${name}/${kind}/${digest}`,
    query: namespaceQuery(repository, endpoint),
    headers: {
      accept: mediaType === '' ? '*/*' : `${mediaType}, */*`,
      'accept-encoding': 'identity',
    },
    scopes: [repositoryScope(name, 'pull')],
    isLastHost,
    stage: `fetch ${digest} of "${text}"`,
    action: 'pull',
  }
}

async function open(
  ctx: Context,
  repository: Repository,
  endpoint: Endpoint,
  call: Call,
  whole: number | undefined,
  { offset = 0, length }: FetchOptions,
): Promise<Body> {
  const end = length === undefined ? undefined : offset + length
  const answer = await askFor(ctx, endpoint, call, offset, end)
  const left = length ?? (whole === undefined ? leftOf(answer, offset) : whole - offset)
  const isEncoded = encodingsOf(answer.headers['content-encoding']).length > 0
  return openBody(ctx, answer, {
    stage: call.stage,
    host: endpoint.profile.host,
    size: isEncoded && whole === undefined ? undefined : left,
    reopen: isEncoded
      ? undefined
      : async (received) => await askFor(ctx, endpoint, call, offset + received, end),
    atMost: call.target.toString().includes('/manifests/') ? maxDocumentBytes : undefined,
    stallMs: repository.timeouts.idleMs,
  })
}

/** How many bytes from `offset` an answer announces, as a whole or a part. */
function leftOf({ status, headers }: Answer, offset: number): number | undefined {
  const length = Number(headers['content-length'] ?? Number.NaN)
  if (!Number.isSafeInteger(length)) return undefined
  return status === 206 ? length : length - offset
}

/** Asks for the bytes from `offset` up to `end`, which is not among them. */
async function askFor(
  ctx: Context,
  endpoint: Endpoint,
  call: Call,
  offset: number,
  end: number | undefined,
): Promise<Answer> {
  const isPart = offset > 0 || end !== undefined
  const range = `bytes=${offset}-${end === undefined ? '' : end - 1}`
  const headers = isPart ? { ...call.headers, range } : (call.headers ?? {})
  const answer = await endpoint.send(ctx, { ...call, headers })
  if (answer.status === 404) {
    await discard(answer)
    const { host } = endpoint.profile
    throw notFound(`${call.stage}: host ${host} does not have it`)
  }
  if (answer.status < 200 || answer.status > 299) {
    throw await refusal(answer, endpoint.subject(call.stage, 'pull'), endpoint.redactor)
  }
  return isPart ? await checkedPart(answer, endpoint, call, offset, end) : answer
}

/** A part must be the one that was asked for; from a whole, what is not wanted is left out. */
async function checkedPart(
  answer: Answer,
  endpoint: Endpoint,
  { stage }: Call,
  offset: number,
  end: number | undefined,
): Promise<Answer> {
  if (answer.status !== 206) return cut(answer, offset, end)
  const range = answer.headers['content-range'] ?? ''
  if (range === '' || range.startsWith(`bytes ${offset}-`)) return answer
  await discard(answer)
  throw dataLoss(
    `${stage}: host ${endpoint.profile.host} sends ${JSON.stringify(range.slice(0, 100))} where bytes from ${offset} were asked for`,
  )
}
