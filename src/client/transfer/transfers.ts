import { readBlob } from '#core/content/read-blob.ts'
import type { Context } from '#core/context.ts'
import { isIndex, parseIndex } from '#core/images/oci.ts'
import { bestOf, onlyPlatform } from '#core/platforms/match.ts'
import {
  formatPlatform,
  hostPlatform,
  parsePlatform,
  type Platform,
} from '#core/platforms/platforms.ts'
import type { ImageTarget } from '#core/transfer/transfer.ts'
import { Introspection } from '#gen/services/introspection_pb.ts'
import { hasCode, notFound, unimplemented } from '#lib/errors/errors.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { callOptions } from '#proxy/call.ts'
import { type RegistrySettings, RemoteTransfers } from '#proxy/transfer/transfers.ts'
import type { Session } from '#client/session.ts'

import { ArchiveProgress } from './archive-progress.ts'
import type {
  ExportOptions,
  PullOptions,
  PushOptions,
  RegistryOptions,
  TransferOptions,
} from './options.ts'
import { hearing } from './progress.ts'

/*
 * What a daemon does by itself when it is told where images come from and go to. Only containerd 1.7
 * and later can, and wharf.
 */

/** What each daemon has said of itself; a connection is to one for as long as it lives. */
const known = new WeakMap<Connection, Promise<boolean>>()

/** Whether the daemon moves images. */
export async function movesImages(ctx: Context, { connection }: Session): Promise<boolean> {
  const asked = known.getOrInsertComputed(connection, () => ask(ctx, connection))
  try {
    return await asked
  } catch (err) {
    known.delete(connection)
    throw err
  }
}

async function ask(ctx: Context, connection: Connection): Promise<boolean> {
  const filters = ['type==io.containerd.grpc.v1,id==transfer']
  const { plugins } = await connection.client(Introspection).plugins({ filters }, callOptions(ctx))
  return plugins.some(({ initErr }) => initErr === undefined)
}

async function transfersOf(ctx: Context, session: Session): Promise<RemoteTransfers> {
  if (await movesImages(ctx, session)) return new RemoteTransfers(session.connection)
  throw unimplemented(
    'this daemon moves no images by itself (containerd does from 1.7 on, wharf with its plugin io.containerd.transfer.v1.local)',
  )
}

/** Pulls `reference`, and names the image so. */
export async function pullImage(
  session: Session,
  reference: string,
  options: PullOptions,
): Promise<void> {
  const ctx = session.context(options)
  const { platforms: texts, unpack = true, snapshotter = session.settings.snapshotter } = options
  const platforms = texts?.map(parsePlatform) ?? [hostPlatform]
  const unpackTo = platforms.length > 0 ? platforms : [hostPlatform]
  const into: ImageTarget = {
    name: reference,
    platforms,
    allMetadata: !options.skipMetadata,
    unpacks: unpack ? unpackTo.map((platform) => ({ platform, snapshotter })) : [],
    ...(options.labels && { labels: options.labels }),
  }
  const transfers = await transfersOf(ctx, session)
  await transfers.pull(ctx, settingsOf(reference, options), into, hearing(options))
  await checkPlatforms(ctx, session, reference, platforms)
}

/** More than any real index has. */
const maxIndexBytes = 16 << 20

/** With what describes all its platforms, an image arrives also when it is for none that is wanted. */
async function checkPlatforms(
  ctx: Context,
  session: Session,
  reference: string,
  platforms: readonly Platform[],
): Promise<void> {
  const { target } = await session.images.get(ctx, reference)
  if (!isIndex(target.mediaType)) return
  const entries = parseIndex(await readBlob(ctx, session.content, target.digest, maxIndexBytes))
  if (entries.some(({ mediaType }) => isIndex(mediaType))) return
  for (const platform of platforms) {
    if (bestOf(entries, onlyPlatform(platform)).length > 0) continue
    const has = entries.flatMap((entry) => entry.platform ?? []).map(formatPlatform)
    throw notFound(
      `${reference} has nothing for ${formatPlatform(platform)}, only for ${has.join(', ')}: its index alone was pulled`,
    )
  }
}

/** Pushes to `reference`. */
export async function pushImage(
  session: Session,
  reference: string,
  options: PushOptions,
): Promise<void> {
  const ctx = session.context(options)
  const { image: name = reference, platforms = [] } = options
  const transfers = await transfersOf(ctx, session)
  const from = { name, platforms: platforms.map(parsePlatform) }
  await transfers.push(ctx, from, settingsOf(reference, options), hearing(options))
}

/** The bytes of an archive of `names`. */
export async function* exportImages(
  session: Session,
  names: readonly string[],
  options: ExportOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const ctx = session.context(options)
  const platforms = (options.platforms ?? []).map(parsePlatform)
  const transfers = await transfersOf(ctx, session)
  const images = names.map((name) => ({ name, platforms }))
  const { onProgress: report } = hearing(options)
  const archive = report && new ArchiveProgress('exporting', 0, report)
  const bytes = transfers.export(ctx, images, {
    allPlatforms: options.allPlatforms ?? false,
    skipCompatibilityManifest: options.skipDockerManifest ?? false,
    skipNonDistributable: options.skipNonDistributable ?? false,
    ...(archive && { onProgress: archive.heard }),
  })
  yield* archive?.count(bytes) ?? bytes
}

function settingsOf(reference: string, options: RegistryOptions): RegistrySettings {
  const { credentials, hostsDir, plainHttp, headers } = options
  return {
    reference,
    ...(credentials && { credentials }),
    ...(hostsDir !== undefined && { hostsDir }),
    ...(plainHttp && { scheme: 'http' as const }),
    ...(headers && { headers }),
  }
}

/** Names an image once more; one that has the name already is replaced. */
export async function tagImage(
  session: Session,
  name: string,
  as: string,
  options: TransferOptions,
): Promise<void> {
  const ctx = session.context(options)
  const { labels, target } = await session.images.get(ctx, name)
  const image = { name: as, labels, target }
  try {
    await session.images.create(ctx, image)
  } catch (err) {
    if (!hasCode(err, 'already_exists')) throw err
    await session.images.update(ctx, image, ['target'])
  }
}
