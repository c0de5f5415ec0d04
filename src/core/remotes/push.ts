import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { isIndex, isManifest } from '#core/images/oci.ts'
import { parseDigest } from '#lib/digest/digest.ts'

import { callOf, checkStored, isThere, type Push } from './push-step.ts'
import type { PushOptions, PushResult, Source } from './remotes.ts'
import { endpointsFor, type Repository } from './repository.ts'
import { read } from './sending.ts'
import { uploadBlob } from './upload.ts'

/**
 * See `Pusher.push`. Only the first host that may be pushed to is: what some have and others have not
 * is worse than an error.
 *
 * Source: OCI distribution-spec, "Pushing blobs", "Pushing manifests"; upstream
 * `core/remotes/docker/pusher.go`.
 */
export async function push(
  ctx: Context,
  repository: Repository,
  target: Descriptor,
  source: Source,
  options: PushOptions = {},
): Promise<PushResult> {
  parseDigest(target.digest)
  const [endpoint] = endpointsFor(repository, 'push')
  const { host, repository: name, tag } = repository.reference
  const stage = `push ${target.digest} to "${host}/${name}${tag && `:${tag}`}"`
  if (endpoint === undefined) return { outcome: 'exists' }
  const job: Push = { repository, endpoint, target, source, options, stage }
  const isDocument = isManifest(target.mediaType) || isIndex(target.mediaType)
  if (!isDocument) return await uploadBlob(ctx, job)
  if (await isThere(ctx, job, 'manifests', manifestName(job))) return { outcome: 'exists' }
  using _turn = await options.turn?.(ctx)
  return await putManifest(ctx, job)
}

/** Where a manifest goes: under its tag, or its digest when there is none or the tag is another one's. */
function manifestName({ repository, target }: Push): string {
  const { tag, digest } = repository.reference
  return tag === '' || (digest !== '' && digest !== target.digest) ? target.digest : tag
}

async function putManifest(ctx: Context, job: Push): Promise<PushResult> {
  const { endpoint, target, options } = job
  const answer = await endpoint.send(ctx, {
    ...callOf(job, 'PUT', `manifests/${manifestName(job)}`),
    headers: { 'content-type': target.mediaType, 'content-length': String(target.size) },
    body: () => read(job.source, 0, target.size),
  })
  await checkStored(answer, job)
  options.onProgress?.(target.size)
  return { outcome: 'pushed' }
}
