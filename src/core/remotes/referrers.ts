import { type Context, withTimeout } from '#core/context.ts'
import { mediaTypes } from '#core/images/oci.ts'
import { digestFault, parseDigest } from '#lib/digest/digest.ts'
import { hasCode, notFound } from '#lib/errors/errors.ts'

import { maxDocumentBytes, parseDocument, readDocument } from './document.ts'
import type { Call, Endpoint } from './endpoint.ts'
import { discard } from './exchange.ts'
import { canDo } from './profile.ts'
import { refusal } from './refusal.ts'
import type { Referrer, ReferrersOptions } from './remotes.ts'
import { endpointsFor, firstOf, namespaceQuery, type Repository } from './repository.ts'
import { repositoryScope } from './scope.ts'

/**
 * See `Fetcher.referrers`. Hosts with the API are asked for it; where none has it, for the index under
 * the tag that stands in for it: `sha256-<hex>`.
 *
 * Source: OCI distribution-spec, "Listing Referrers", "Referrers Tag Schema"; upstream
 * `core/remotes/docker/referrers.go`.
 */
export async function referrers(
  ctx: Context,
  repository: Repository,
  digest: string,
  { artifactTypes = [] }: ReferrersOptions = {},
): Promise<readonly Referrer[]> {
  parseDigest(digest)
  const { repository: name } = repository.reference
  const byApi = repository.endpoints.filter(({ profile }) => canDo(profile, 'referrers'))
  const hosts = byApi.length > 0 ? byApi : endpointsFor(repository, 'resolve')
  const filters = artifactTypes.map((type) => ['artifactType', type] as const)
  const found =
    (await askAll(ctx, repository, byApi, `${name}/referrers/${digest}`, filters)) ??
    (await askAll(ctx, repository, hosts, `${name}/manifests/${digest.replace(':', '-')}`, [])) ??
    []
  // A host need not filter.
  const wanted = new Set(artifactTypes)
  return found.filter(({ artifactType = '' }) => wanted.size === 0 || wanted.has(artifactType))
}

/** @returns undefined when every host says there is no such thing. */
async function askAll(
  ctx: Context,
  repository: Repository,
  endpoints: readonly Endpoint[],
  target: string,
  query: NonNullable<Call['query']>,
): Promise<readonly Referrer[] | undefined> {
  if (endpoints.length === 0) return undefined
  const { repository: name, text } = repository.reference
  try {
    return await firstOf(
      ctx,
      endpoints,
      async (endpoint, isLastHost) =>
        await ask(withTimeout(ctx, repository.timeouts.documentMs), endpoint, {
          method: 'GET',
          target,
          query: [...query, ...namespaceQuery(repository, endpoint)],
          headers: { accept: `${mediaTypes.ociIndex}, */*`, 'accept-encoding': 'identity' },
          scopes: [repositoryScope(name, 'pull')],
          isLastHost,
          stage: `list referrers of "${text}"`,
          action: 'pull',
        }),
      { mayLack: true },
    )
  } catch (err) {
    if (hasCode(err, 'not_found')) return undefined
    throw err
  }
}

async function ask(ctx: Context, endpoint: Endpoint, call: Call): Promise<readonly Referrer[]> {
  const answer = await endpoint.send(ctx, call)
  if (answer.status === 404) {
    await discard(answer)
    throw notFound(call.stage)
  }
  if (answer.status !== 200) {
    throw await refusal(answer, endpoint.subject(call.stage, 'pull'), endpoint.redactor)
  }
  const what = `${call.stage}: its index`
  const { manifests } = parseDocument(await readDocument(answer, maxDocumentBytes, what), what)
  const entries: readonly unknown[] = Array.isArray(manifests) ? manifests : []
  return entries.map(toReferrer).filter((entry) => entry !== undefined)
}

/** An entry, if it is a descriptor. */
function toReferrer(value: unknown): Referrer | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const entry = Object.fromEntries(Object.entries(value))
  const { mediaType, digest, size, artifactType, annotations } = entry as Record<string, unknown>
  if (typeof digest !== 'string' || digestFault(digest) !== undefined) return undefined
  if (typeof mediaType !== 'string' || typeof size !== 'number' || !Number.isSafeInteger(size)) {
    return undefined
  }
  return {
    mediaType,
    digest,
    size,
    ...(typeof artifactType === 'string' && { artifactType }),
    ...(typeof annotations === 'object' &&
      annotations !== null && { annotations: texts(annotations) }),
  }
}

const texts = (value: object): Record<string, string> =>
  Object.fromEntries(
    Object.entries(value).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    ),
  )
