import { type Context, withTimeout } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes } from '#core/images/oci.ts'
import { digestFault, digestOf, parseDigest } from '#lib/digest/digest.ts'
import {
  dataLoss,
  hasCode,
  invalidArgument,
  resourceExhausted,
  unimplemented,
} from '#lib/errors/errors.ts'

import { notFoundHere } from './diagnose.ts'
import { maxDocumentBytes, readDocument } from './document.ts'
import type { Call, Endpoint } from './endpoint.ts'
import { type Answer, discard } from './exchange.ts'
import { encodingsOf } from './body.ts'
import { refusal } from './refusal.ts'
import type { Resolution } from './remotes.ts'
import { endpointsFor, firstOf, namespaceQuery, type Repository } from './repository.ts'
import { repositoryScope } from './scope.ts'

const accept = [
  mediaTypes.dockerManifest,
  mediaTypes.dockerIndex,
  mediaTypes.ociManifest,
  mediaTypes.ociIndex,
  '*/*',
].join(', ')

/**
 * Asks what the reference of `repository` means. Source: OCI distribution-spec, "Checking if content
 * exists in the registry" and "Pulling manifests"; upstream `core/remotes/docker/resolver.go`.
 */
export async function resolve(ctx: Context, repository: Repository): Promise<Resolution> {
  const { text, tag, digest } = repository.reference
  if (tag === '' && digest === '') {
    throw invalidArgument(`reference "${text}" has neither a tag nor a digest: object required`)
  }
  // With a digest the answer is checked, whoever gives it; without one, it is believed.
  const endpoints = endpointsFor(repository, 'pull', ...(digest === '' ? ['resolve' as const] : []))
  const ask = async (kind: 'manifests' | 'blobs'): Promise<Resolution> =>
    await firstOf(ctx, endpoints, async (endpoint, isLast) => {
      const call = callFor(repository, endpoint, kind, isLast)
      const short = withTimeout(ctx, repository.timeouts.documentMs)
      const target = await look(short, repository, endpoint, call)
      return { name: text, target, host: endpoint.profile.host }
    })
  try {
    return await ask('manifests')
  } catch (err) {
    // A digest may be of something that is no manifest; only where all agree that it is none.
    if (digest === '' || !hasCode(err, 'not_found')) throw err
    return await ask('blobs').catch((second: unknown) => {
      throw hasCode(second, 'not_found') ? err : second
    })
  }
}

function callFor(
  repository: Repository,
  endpoint: Endpoint,
  kind: 'manifests' | 'blobs',
  isLastHost: boolean,
): Call {
  const { repository: name, tag, digest, text } = repository.reference
  return {
    method: 'HEAD',
    target: `${name}/${kind}/${digest === '' ? tag : digest}`,
    query: namespaceQuery(repository, endpoint),
    headers: { accept },
    scopes: [repositoryScope(name, 'pull')],
    isLastHost,
    stage: `resolve "${text}"`,
    action: 'pull',
  }
}

async function look(
  ctx: Context,
  repository: Repository,
  endpoint: Endpoint,
  call: Call,
): Promise<Descriptor> {
  const head = await endpoint.send(ctx, call)
  await discard(head)
  if (head.status === 404) throw await notFoundHere(ctx, repository, endpoint, call)
  if (head.status >= 200 && head.status < 300) {
    return described(head, repository, call) ?? (await read(ctx, repository, endpoint, call))
  }
  // HEAD has no words. GET says why, and is all that some registries know.
  return await read(ctx, repository, endpoint, call)
}

/** What the head of an answer says; undefined when that is not enough. */
function described(head: Answer, { reference }: Repository, call: Call): Descriptor | undefined {
  const { 'content-length': length, 'docker-content-digest': said } = head.headers
  const size = Number(length)
  if (
    length === undefined ||
    !Number.isSafeInteger(size) ||
    encodingsOf(head.headers['content-encoding']).length > 0
  ) {
    return undefined
  }
  const digest = reference.digest === '' ? headerDigest(said, call) : reference.digest
  if (digest === undefined) return undefined
  if (call.target.toString().includes('/manifests/') && size > maxDocumentBytes) {
    throw resourceExhausted(
      `${call.stage}: its manifest has ${size} bytes, and may have ${maxDocumentBytes}`,
    )
  }
  return { mediaType: mediaTypeOf(head, call), digest, size }
}

function headerDigest(value: string | string[] | undefined, { stage }: Call): string | undefined {
  if (value === undefined) return undefined
  const digest = String(value)
  const fault = digestFault(digest)
  if (fault === undefined) return digest
  throw dataLoss(
    `${stage}: ${JSON.stringify(digest.slice(0, 200))} in header not a valid digest: ${fault}`,
  )
}

/** Reads all of it, to know its size and digest. */
async function read(
  ctx: Context,
  repository: Repository,
  endpoint: Endpoint,
  call: Call,
): Promise<Descriptor> {
  const answer = await endpoint.send(ctx, { ...call, method: 'GET' })
  if (answer.status < 200 || answer.status > 299) {
    throw await refusal(answer, endpoint.subject(call.stage, 'pull'), endpoint.redactor)
  }
  const mediaType = mediaTypeOf(answer, call)
  const bytes = await readDocument(answer, maxDocumentBytes, `${call.stage}: its manifest`)
  const expected =
    repository.reference.digest || headerDigest(answer.headers['docker-content-digest'], call)
  const digest = digestOf(
    bytes,
    expected === undefined ? 'sha256' : parseDigest(expected).algorithm,
  )
  if (expected !== undefined && digest !== expected) {
    const from = endpoint.profile.host
    throw dataLoss(`${call.stage}: host ${from} sends ${digest} where it should be ${expected}`)
  }
  return { mediaType, digest, size: bytes.length }
}

/** The type without parameters. Source: upstream `getManifestMediaType`. */
function mediaTypeOf({ headers }: Answer, { stage }: Call): string {
  const type = (headers['content-type'] ?? 'application/octet-stream').split(';')[0]?.trim() ?? ''
  if (
    type === 'text/plain' ||
    (/manifest\.v1\+(?:json|prettyjws)$/.test(type) && type.includes('docker'))
  ) {
    throw unimplemented(
      `${stage}: it is in Docker's schema 1 (${type}), which nobody supports any more; push it again in a newer form`,
    )
  }
  return type
}
