import type { SnapshotOptions } from '#core/snapshots/snapshotter.ts'
import type { MetaStore } from '#core/snapshots/storage/meta-store.ts'
import { unimplemented } from '#lib/errors/errors.ts'

/**
 * For snapshotters whose snapshots hold all that is below them: they can't put one on a parent that
 * it was not made from.
 *
 * @throws `unimplemented`; `not_found` when nothing has that key.
 */
export function refuseRebase(
  store: MetaStore,
  key: string,
  { parent = '' }: SnapshotOptions,
): void {
  if (parent === '' || store.info(key).info.parent !== '') return
  throw unimplemented(
    `committing ${JSON.stringify(key)} on ${JSON.stringify(parent)}: it was prepared without a parent, which this snapshotter copies from`,
  )
}
