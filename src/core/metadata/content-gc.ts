import type { Context } from '#core/context.ts'
import type { ReadBucket } from '#lib/bolt/database.ts'
import { hasCode } from '#lib/errors/errors.ts'

import type { ContentBackend } from './backends.ts'
import { readText } from './fields.ts'
import { ingestLock } from './ingest.ts'
import type { Records } from './records.ts'
import { buckets, find, schemaVersion } from './schema.ts'
import { nextTurn, sliceSize } from './slices.ts'

interface Named {
  readonly blobs: Set<string>
  readonly ingests: Set<string>
}

/** Deletes blobs and uploads from the backend that no namespace has a record of. */
export async function collectContent(
  ctx: Context,
  records: Records,
  backend: ContentBackend,
): Promise<void> {
  using blobs = backend.blobs.watch()
  using ingests = backend.ingests.watch()
  const named = await records.read(namedContent)
  let seen = 0
  for await (const { digest } of backend.store.list(ctx)) {
    if (++seen % sliceSize === 0) await nextTurn()
    if (named.blobs.has(digest)) continue
    using _lock = await backend.blobs.lock(digest, ctx)
    if (blobs.names.has(digest)) continue
    await ignoringMissing(backend.store.delete(ctx, digest))
    ctx.log.debug('removed content', { digest })
  }
  for (const { ref } of await backend.store.listStatuses(ctx)) {
    if (named.ingests.has(ref)) continue
    using _lock = await backend.ingests.lock(ingestLock(ref), ctx)
    if (ingests.names.has(ref)) continue
    await ignoringMissing(backend.store.abort(ctx, ref))
    ctx.log.debug('cleanup aborting ingest', { ref })
  }
}

function* namedContent(tx: ReadBucket): Generator<void, Named> {
  const named: Named = { blobs: new Set(), ingests: new Set() }
  for (const [, ns] of buckets(find(tx, [schemaVersion]))) {
    for (const [digest] of buckets(find(ns, ['content', 'blob']))) {
      yield void named.blobs.add(digest)
    }
    for (const [, ingest] of buckets(find(ns, ['content', 'ingests']))) {
      named.ingests.add(readText(ingest, 'ref'))
      // The namespace it was shared from may have dropped it since.
      yield void named.blobs.add(readText(ingest, 'expected'))
    }
  }
  return named
}

/** Somebody else may have deleted it first. */
export async function ignoringMissing(deletion: Promise<void>): Promise<void> {
  try {
    await deletion
  } catch (err) {
    if (!hasCode(err, 'not_found')) throw err
  }
}
