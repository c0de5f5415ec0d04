import { mountInfo } from '#sys/mount-info.ts'

import type { Handlers } from './plan.ts'
import type { StoredActivation } from './records.ts'

/** Those of `records` that a daemon was killed in, or that have lost a mount, as all have by a reboot. */
export function brokenRecords(
  records: readonly StoredActivation[],
  handlers: Handlers,
): readonly StoredActivation[] {
  if (records.length === 0) return []
  const mounted = new Set(mountInfo().map(({ mountPoint }) => mountPoint))
  return records.filter(
    ({ whole, active }) =>
      !whole ||
      active.some(({ type, mountPoint }) => {
        const handler = handlers.get(type)
        return handler ? !handler.isMounted(mountPoint) : !mounted.has(mountPoint)
      }),
  )
}
