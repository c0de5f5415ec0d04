import type { Store } from '#core/content/content.ts'
import { readPieces } from '#core/content/read-pieces.ts'
import type { Context } from '#core/context.ts'
import type { ImageStore } from '#core/images/images.ts'
import { mountCandidates } from '#core/remotes/distribution-source.ts'
import type { Pusher, Source } from '#core/remotes/remotes.ts'
import { group } from '#lib/async/group.ts'
import { Semaphore } from '#lib/async/semaphore.ts'
import { giveBack } from '#lib/bytes/give-back.ts'
import { weighBuffers } from '#lib/bytes/weigh-buffers.ts'

import { type Outgoing, pushGraph } from './push-graph.ts'
import { PushProgress } from './push-progress.ts'
import type { ImageSource, RegistryEnd, TransferOptions } from './transfer.ts'

/** Where what is pushed comes from. */
export interface PushPlace {
  readonly images: Pick<ImageStore, 'get'>
  readonly content: Pick<Store, 'info' | 'reader'>
  /** How many things all pushes together send at once; as many as there are when absent. */
  readonly uploads?: Semaphore | undefined
}

/** How many things of one push are looked for, or sent, at once: while some are sent, the registry is asked for others. */
const mostAtOnce = 8
/** Of what is read at once, in bytes. */
const pieceBytes = 1 << 18
/** From here on V8 shall know what the buffers weigh, in bytes. */
const largeBlob = 16 << 20
/** A registry that refuses to mount is not asked about all repositories that a blob has ever come from. */
const mostMounts = 3

/**
 * See `Transferrer.push`. Layers and configs are sent first, then manifests, then indexes, each by its digest;
 * `from`'s own target goes last, and takes the tag. What the registry has is not sent, and need not be here.
 *
 * Source: upstream `core/transfer/local/push.go`, `core/remotes/handlers.go`.
 */
export async function pushImage(
  ctx: Context,
  place: PushPlace,
  from: ImageSource,
  { reference, remotes }: RegistryEnd,
  { onProgress: report = () => {} }: TransferOptions = {},
): Promise<void> {
  const image = await place.images.get(ctx, from.name)
  const { name, target: descriptor } = image
  report({ event: `Pushing to OCI Registry (${reference})` })
  report({ event: 'pushing content', name, descriptor })
  // With a digest, the tag is only for what has it.
  const full = reference.includes('@') ? reference : `${reference}@${descriptor.digest}`
  const pusher = await remotes.pusher(ctx, full)
  const progress = new PushProgress(name, report)
  const graph = await pushGraph(ctx, place.content, descriptor, from.platforms ?? [], (...found) =>
    progress.found(...found),
  )
  const atOnce = new Semaphore(mostAtOnce)
  const send = async (c: Context, outgoing: Outgoing): Promise<void> => {
    using _place = await atOnce.acquire(c)
    await pushOne(c, place, pusher, full, outgoing, progress)
  }
  for (const same of [graph.blobs, graph.manifests]) {
    await group(
      ctx,
      same.map((outgoing) => async (c) => await send(c, outgoing)),
    )
  }
  for (const index of graph.indexes) await send(ctx, index)
  report({ event: 'pushed content', name, descriptor })
  report({ event: `Completed push to OCI Registry (${reference})`, descriptor })
}

async function pushOne(
  ctx: Context,
  { content, uploads }: PushPlace,
  pusher: Pusher,
  reference: string,
  { descriptor, labels }: Outgoing,
  progress: PushProgress,
): Promise<void> {
  const source: Source = (offset) => bytesOf(ctx, content, descriptor.digest, offset)
  const result = await pusher.push(ctx, descriptor, source, {
    mountFrom: mountCandidates(reference, labels).slice(0, mostMounts),
    turn: uploads && (async (own) => await uploads.acquire(own)),
    onProgress: (sent) => progress.sent(descriptor, sent),
  })
  progress.done(descriptor, result)
}

async function* bytesOf(
  ctx: Context,
  content: Pick<Store, 'reader'>,
  digest: string,
  offset: number,
): AsyncGenerator<Uint8Array, void> {
  await using reader = await content.reader(ctx, digest)
  if (reader.size > largeBlob) weighBuffers()
  for await (const piece of readPieces(reader, { offset, pieceBytes })) {
    yield piece
    // The transport has sent what it was given before it asks for more; of less it may keep some.
    if (piece.length === pieceBytes) giveBack(piece)
  }
}
