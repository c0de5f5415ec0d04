import type { Context } from '#core/context.ts'
import { dataLoss, failedPrecondition, hasCode } from '#lib/errors/errors.ts'

import type { Endpoint } from './endpoint.ts'
import { type Answer, discard } from './exchange.ts'
import { callOf, checkStored, isThere, type Push, refused } from './push-step.ts'
import type { PushResult } from './remotes.ts'
import { repositoryScope } from './scope.ts'
import { read } from './sending.ts'

/*
 *   HEAD  <name>/blobs/<digest>       200: it is there
 *   POST  <name>/blobs/uploads/[?mount=<digest>&from=<repository>]
 *                                     201: it was mounted     202: Location of the upload
 *   in one piece:
 *   PUT   <location>?digest=<digest>  201
 *   in pieces:
 *   PATCH <location>                  Content-Range: <first>-<last>; 202: the next Location
 *   GET   <location>                  204, Range: 0-<last>: what has arrived, after a piece that broke
 *   PUT   <location>?digest=<digest>  201
 *
 * Source: OCI distribution-spec, "Pushing a blob monolithically", "Pushing a blob in chunks",
 * "Mounting a blob from another repository".
 */

/** An upload that broke in one piece begins anew so often. */
const mostUploads = 3
/** A piece that broke is taken up so often without getting further. */
const mostResumes = 3

/** An upload that has waited this long for its turn begins anew, in ms: the host may have forgotten it. */
const waitMs = 60_000

/** What is no larger is sent sooner than it is asked for once more, in bytes. */
const smallBytes = 512 * 1024
/** Hosts that begin an upload of what they have, instead of mounting it. */
const neverMounts = new WeakSet<Endpoint>()

/** Sends a blob, unless it is there or can be mounted. */
export async function uploadBlob(ctx: Context, job: Push): Promise<PushResult> {
  const begun = await withoutBytes(ctx, job)
  if (begun !== undefined && 'outcome' in begun) return begun
  const asked = performance.now()
  using _turn = await job.options.turn?.(ctx)
  const isFresh = performance.now() - asked < waitMs
  await send(ctx, job, isFresh ? begun : undefined)
  return { outcome: 'pushed' }
}

/** What spares its bytes: it is there, or can be mounted. Otherwise the upload that the host has begun, if any. */
async function withoutBytes(ctx: Context, job: Push): Promise<PushResult | Upload | undefined> {
  const { mountFrom = [] } = job.options
  if (mountFrom.length === 0 && !neverMounts.has(job.endpoint)) return await askAndBegin(ctx, job)
  if (await isThere(ctx, job, 'blobs', job.target.digest)) return { outcome: 'exists' }
  const from = await mount(ctx, job, mountFrom)
  return typeof from === 'string' ? { outcome: 'mounted', from } : from
}

/**
 * Has it mounted from its own repository: a host does so with what is there, and begins an upload of what is
 * not, so that one question does for two. One that mounts nothing is found out by what is large, or says so.
 */
async function askAndBegin(ctx: Context, job: Push): Promise<PushResult | Upload | undefined> {
  const begun = await mount(ctx, job, [job.repository.reference.repository])
  if (typeof begun === 'string') return { outcome: 'exists' }
  const { digest, size } = job.target
  if (begun !== undefined && size <= smallBytes) return begun
  const exists = await isThere(ctx, job, 'blobs', digest)
  if (exists || begun === undefined) neverMounts.add(job.endpoint)
  return exists ? { outcome: 'exists' } : begun
}

async function send(ctx: Context, job: Push, begun: Upload | undefined): Promise<void> {
  for (let uploads = 1, start = begun; ; uploads++) {
    const location = start ?? (await begin(ctx, job))
    try {
      const isWhole = (job.options.chunkSize ?? 0) <= 0
      await (isWhole ? sendWhole(ctx, job, location.url) : sendPieces(ctx, job, location))
      return
    } catch (err) {
      if (uploads === mostUploads || !hasCode(err, 'unavailable') || ctx.signal.aborted) throw err
      ctx.log.info('registry upload begins anew', { digest: job.target.digest })
      start = undefined
    }
  }
}

/** An upload under way. */
interface Upload {
  readonly url: URL
  /** The smallest piece the host takes. */
  readonly smallest: number
}

/** Tries the repositories that may have it. @returns which one had, or the upload that was begun instead. */
async function mount(
  ctx: Context,
  job: Push,
  repositories: readonly string[],
): Promise<string | Upload | undefined> {
  for (const from of repositories) {
    const call = callOf(job, 'POST', 'blobs/uploads/')
    const answer = await job.endpoint.send(ctx, {
      ...call,
      query: [...(call.query ?? []), ['mount', job.target.digest], ['from', from]],
      scopes: [...call.scopes, repositoryScope(from, 'pull')],
    })
    if (answer.status === 201) {
      await checkStored(answer, job)
      return from
    }
    await discard(answer)
    if (answer.status === 202) return uploadOf(answer, job)
  }
  return undefined
}

async function begin(ctx: Context, job: Push): Promise<Upload> {
  const answer = await job.endpoint.send(ctx, {
    ...callOf(job, 'POST', 'blobs/uploads/'),
    headers: { 'content-length': '0' },
  })
  if (answer.status < 200 || answer.status > 299) throw await refused(answer, job)
  await discard(answer)
  return uploadOf(answer, job)
}

/** Where an upload goes on. The host may name another one: that hears no credentials. */
function uploadOf({ headers, url: from }: Answer, { stage, endpoint }: Push): Upload {
  const url = URL.parse(headers.location ?? '', from)
  const { host } = endpoint.profile
  if (headers.location === undefined || url === null || !/^https?:$/.test(url.protocol)) {
    throw failedPrecondition(`${stage}: host ${host} does not say where to send it`)
  }
  if (from.protocol === 'https:' && url.protocol === 'http:') {
    throw failedPrecondition(
      `${stage}: host ${host} wants it sent over plain http, which is refused; a registry behind a proxy must be told its own URL`,
    )
  }
  const smallest = Number(headers['oci-chunk-min-length'] ?? 0)
  return { url, smallest: Number.isSafeInteger(smallest) ? smallest : 0 }
}

async function sendWhole(ctx: Context, job: Push, url: URL): Promise<void> {
  const { size } = job.target
  await finish(ctx, job, url, {
    headers: { 'content-type': 'application/octet-stream', 'content-length': String(size) },
    body: () => read(job.source, 0, size, job.options.onProgress),
  })
}

/** Ends the upload. What arrived is the host's to check, against the digest. */
async function finish(
  ctx: Context,
  job: Push,
  url: URL,
  more: { headers: Readonly<Record<string, string>>; body?: () => AsyncIterable<Uint8Array> },
): Promise<void> {
  const call = callOf(job, 'PUT', url)
  const answer = await job.endpoint.send(ctx, {
    ...call,
    ...more,
    query: [...(call.query ?? []), ['digest', job.target.digest]],
    // Half of a piece may have arrived: the same again would be appended to it.
    isLastHost: false,
  })
  await checkStored(answer, job)
}

async function sendPieces(ctx: Context, job: Push, upload: Upload): Promise<void> {
  const { size } = job.target
  const length = Math.max(job.options.chunkSize ?? 0, upload.smallest)
  let { url } = upload
  let resumes = 0
  for (let offset = 0; offset < size; ) {
    const end = Math.min(offset + length, size)
    try {
      url = await sendPiece(ctx, job, url, offset, end)
      ;[offset, resumes] = [end, 0]
    } catch (err) {
      if (!hasCode(err, 'unavailable') || ctx.signal.aborted || ++resumes > mostResumes) throw err
      const arrived = await askArrived(ctx, job, url)
      if (arrived.offset > offset) resumes = 0
      ;({ url, offset } = arrived)
    }
  }
  await finish(ctx, job, url, { headers: { 'content-length': '0' } })
}

async function sendPiece(
  ctx: Context,
  job: Push,
  url: URL,
  offset: number,
  end: number,
): Promise<URL> {
  const answer = await job.endpoint.send(ctx, {
    ...callOf(job, 'PATCH', url),
    headers: {
      'content-type': 'application/octet-stream',
      'content-length': String(end - offset),
      'content-range': `${offset}-${end - 1}`,
    },
    body: () => read(job.source, offset, end - offset, job.options.onProgress),
    isLastHost: false,
  })
  if (answer.status < 200 || answer.status > 299) throw await refused(answer, job)
  await discard(answer)
  return uploadOf(answer, job).url
}

/** How much of an upload has arrived. Source: OCI distribution-spec, "Pushing a blob in chunks", end. */
async function askArrived(
  ctx: Context,
  job: Push,
  url: URL,
): Promise<{ readonly url: URL; readonly offset: number }> {
  const answer = await job.endpoint.send(ctx, callOf(job, 'GET', url))
  if (answer.status < 200 || answer.status > 299) throw await refused(answer, job)
  await discard(answer)
  const range = answer.headers.range ?? ''
  const [, last] = /^(?:bytes=)?0-(\d+)$/.exec(range) ?? []
  // Both an empty upload and one of a single byte are 0-0: the byte is sent again.
  const offset = last === undefined || last === '0' ? 0 : Number(last) + 1
  if (offset > job.target.size) {
    throw dataLoss(
      `${job.stage}: host ${job.endpoint.profile.host} has more than was sent: ${range}`,
    )
  }
  return { url: answer.headers.location === undefined ? url : uploadOf(answer, job).url, offset }
}
