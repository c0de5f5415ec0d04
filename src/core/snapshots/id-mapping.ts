import type { Labels } from '#core/labels/labels.ts'
import { idOutside, parseIdMap } from '#lib/id-map/id-map.ts'

const userKey = 'containerd.io/snapshot/uidmapping'
const groupKey = 'containerd.io/snapshot/gidmapping'

/** Who owns a directory. */
export interface Owner {
  readonly uid: number
  readonly gid: number
}

/**
 * Who root of a container is whose ids are mapped as labels say; undefined when they say nothing.
 * Ids of which nothing is said are the same in the container and outside.
 *
 * @throws `invalid_argument`.
 */
export function mappedRoot(labels: Labels): Owner | undefined {
  const [users, groups] = [labels[userKey], labels[groupKey]]
  if (users === undefined && groups === undefined) return undefined
  return { uid: outside(users), gid: outside(groups) }
}

function outside(map: string | undefined): number {
  if (map === undefined) return 0
  try {
    return idOutside(parseIdMap(map), 0)
  } catch (err) {
    throw new Error('failed to unmarshal snapshot ID mapped labels', { cause: err })
  }
}

/** Mount options that have the files below a container be those of its users. */
export function mappingOptions(labels: Labels): readonly string[] {
  const [users, groups] = [labels[userKey], labels[groupKey]]
  return [
    ...(users === undefined ? [] : [`uidmap=${users}`]),
    ...(groups === undefined ? [] : [`gidmap=${groups}`]),
  ]
}
