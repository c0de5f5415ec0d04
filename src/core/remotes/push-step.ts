import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { dataLoss } from '#lib/errors/errors.ts'

import type { Call, Endpoint } from './endpoint.ts'
import { type Answer, discard } from './exchange.ts'
import { refusal } from './refusal.ts'
import type { PushOptions, Source } from './remotes.ts'
import { namespaceQuery, type Repository } from './repository.ts'
import { repositoryScope } from './scope.ts'

/** One thing on its way to one host. */
export interface Push {
  readonly repository: Repository
  readonly endpoint: Endpoint
  readonly target: Descriptor
  readonly source: Source
  readonly options: PushOptions
  readonly stage: string
}

/** A request of `job`, to be completed. */
export const callOf = (
  { repository, endpoint, stage }: Push,
  method: Call['method'],
  target: string | URL,
): Call => ({
  method,
  target: typeof target === 'string' ? `${repository.reference.repository}/${target}` : target,
  query: namespaceQuery(repository, endpoint),
  scopes: [repositoryScope(repository.reference.repository, 'pull', 'push')],
  isLastHost: true,
  stage,
  action: 'push',
})

/** Asks whether the registry has `job`'s content under `name`. @throws when it has trouble. */
export async function isThere(
  ctx: Context,
  job: Push,
  kind: 'blobs' | 'manifests',
  name: string,
): Promise<boolean> {
  const { digest, mediaType } = job.target
  const call = callOf(job, 'HEAD', `${kind}/${name}`)
  const answer = await job.endpoint.send(ctx, {
    ...call,
    headers: { accept: `${mediaType}, */*` },
  })
  await discard(answer)
  const { status, headers } = answer
  if (status >= 500 || status === 429) throw await refused(answer, job)
  // Whoever may not look may still be allowed to push; if not, that says so in words.
  if (status !== 200) return false
  return name === digest || headers['docker-content-digest'] === digest
}

/** @throws unless the registry says it has `job`'s content now. */
export async function checkStored(answer: Answer, job: Push): Promise<void> {
  if (answer.status < 200 || answer.status > 299) throw await refused(answer, job)
  await discard(answer)
  const said = answer.headers['docker-content-digest']
  if (said === undefined || said === job.target.digest) return
  throw dataLoss(
    `${job.stage}: host ${job.endpoint.profile.host} says it received ${JSON.stringify(said).slice(0, 200)}`,
  )
}

/** The error for an answer that no step of a push can do with. */
export const refused = async (answer: Answer, { endpoint, stage }: Push): Promise<Error> =>
  await refusal(answer, endpoint.subject(stage, 'push'), endpoint.redactor)
