import type { Snapshot } from '#doctor/catalog.ts'
import type { Backend } from '#doctor/backend.ts'
import type { Examination } from '#doctor/context.ts'

/** Whose a snapshot of a backend is, and under which key. */
export interface Owner {
  readonly namespace: string
  readonly key: string
}

const known = new WeakMap<Backend, ReadonlyMap<string, Owner>>()

/** The namespace that has the snapshot `name` of `backend`; undefined for none. */
export function ownerOf(
  { catalog }: Pick<Examination, 'catalog'>,
  backend: Backend,
  name: string,
): Owner | undefined {
  const owners = known.getOrInsertComputed(backend, () => {
    const all = catalog.namespaces.flatMap((namespace) => {
      const snapshots = namespace.snapshots.get(backend.place.name)?.values() ?? []
      return Array.from(snapshots, (each: Snapshot): [string, Owner] => [
        each.name,
        { namespace: namespace.name, key: each.key },
      ])
    })
    return new Map(all)
  })
  return owners.get(name)
}
