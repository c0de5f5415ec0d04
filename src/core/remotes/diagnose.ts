import type { Context } from '#core/context.ts'
import { CodedError } from '#lib/errors/errors.ts'
import { nearest } from '#lib/toml/decode.ts'

import { parseDocument, readDocument } from './document.ts'
import type { Call, Endpoint } from './endpoint.ts'
import { discard } from './exchange.ts'
import { readSaid, refusalOf } from './refusal.ts'
import { namespaceQuery, type Repository } from './repository.ts'

const shownTags = 5
const askedTags = 500
const listBytes = 256 * 1024

/**
 * Why there is nothing under a name: the repository is not there, or the tag is not. Asks the registry
 * for its words, and for the tags it has. Source: OCI distribution-spec, "Listing Tags".
 */
export async function notFoundHere(
  ctx: Context,
  repository: Repository,
  endpoint: Endpoint,
  call: Call,
): Promise<CodedError> {
  const { tag, repository: name } = repository.reference
  const answer = await endpoint.send(ctx, { ...call, method: 'GET' })
  const said = await readSaid(answer, endpoint.redactor)
  const subject = endpoint.subject(call.stage, 'pull')
  const plain = refusalOf(answer, said, subject)
  if (answer.status !== 404 || tag === '' || !call.isLastHost) return plain
  const tags = await listTags(ctx, repository, endpoint, call).catch(() => undefined)
  const host = endpoint.profile.host
  const words = said.text === '' ? 'status 404' : `status 404, ${said.text}`
  if (tags === 'no repository') {
    const message = `${call.stage}: host ${host} has no repository "${name}" (${words}); check its spelling, or give credentials if it is private`
    return new CodedError('not_found', message)
  }
  if (tags === undefined || tags.length === 0) return plain
  return new CodedError(
    'not_found',
    `${call.stage}: repository "${name}" on host ${host} has no tag "${tag}" (${words}); ${suggestion(tag, tags)}`,
  )
}

function suggestion(tag: string, tags: readonly string[]): string {
  const meant = nearest(tag, tags)
  if (meant !== undefined) return `did you mean "${meant}"?`
  const more = tags.length > shownTags ? ', …' : ''
  return `it has ${tags.slice(0, shownTags).join(', ')}${more}`
}

async function listTags(
  ctx: Context,
  repository: Repository,
  endpoint: Endpoint,
  call: Call,
): Promise<readonly string[] | 'no repository' | undefined> {
  const answer = await endpoint.send(ctx, {
    ...call,
    method: 'GET',
    target: `${repository.reference.repository}/tags/list`,
    query: [['n', String(askedTags)], ...namespaceQuery(repository, endpoint)],
    isLastHost: false,
  })
  if (answer.status === 404) {
    const { codes } = await readSaid(answer, endpoint.redactor)
    return codes.includes('NAME_UNKNOWN') ? 'no repository' : undefined
  }
  if (answer.status !== 200) {
    await discard(answer)
    return undefined
  }
  const { tags } = parseDocument(
    await readDocument(answer, listBytes, 'list of tags'),
    'list of tags',
  )
  const list: readonly unknown[] = Array.isArray(tags) ? tags : []
  return list.filter((tag) => typeof tag === 'string' && /^[\w.-]{1,128}$/.test(tag)).map(String)
}
