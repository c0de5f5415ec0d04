import type { Namespace, Snapshot } from '#doctor/catalog.ts'
import type { Backend } from '#doctor/backend.ts'
import type { Examination } from '#doctor/context.ts'
import { dropSnapshots, forgetChildren } from '#doctor/repair/snapshots.ts'

/** Whether the records of `meta.db` can be read, and whether what they refer to is there. */
export function checkRecords(exam: Examination): void {
  checkReadable(exam)
  for (const namespace of exam.catalog.namespaces) {
    checkContainers(exam, namespace)
    checkLeases(exam, namespace)
    for (const [snapshotter, snapshots] of namespace.snapshots) {
      const backend = exam.backends.find(({ place }) => place.name === snapshotter)
      checkSnapshots(exam, { namespace, snapshotter, snapshots, backend })
    }
  }
  checkSnapshotters(exam)
}

function checkReadable({ catalog, places, findings }: Examination): void {
  for (const { path, why, page } of catalog.unreadable) {
    findings.add({
      kind: page ? 'database-damaged' : 'record-unreadable',
      level: 'error',
      what: page ? `a page of meta.db below ${path || 'its root'} is damaged: ${why}` : why,
      where: `${places.metadata}: ${path}`,
      consequence: page
        ? 'what is stored there cannot be had, and nothing unrecorded can be told from garbage'
        : 'a client that lists what is beside it gets an error instead',
      advice: `wharf doctor db ${places.metadata} looks at every page of the file`,
    })
  }
}

function checkContainers({ catalog, findings }: Examination, namespace: Namespace): void {
  const images = new Set(namespace.images.map(({ name }) => name))
  for (const { id, image, snapshotter, snapshotKey } of namespace.containers.values()) {
    const where = `container ${id}`
    const { name } = namespace
    if (snapshotKey !== '' && !namespace.snapshots.get(snapshotter)?.has(snapshotKey)) {
      findings.add({
        kind: 'container-snapshot-missing',
        level: catalog.complete ? 'error' : 'warning',
        what: `container ${id} has no root file system: snapshot ${snapshotKey} of ${snapshotter} is not there`,
        where,
        namespace: name,
        consequence: 'it cannot be started, and what it had written is gone',
        advice: `ctr -n ${name} container rm ${id}, and make it anew`,
      })
    }
    if (image !== '' && !images.has(image)) {
      findings.add({
        kind: 'container-image-missing',
        level: 'note',
        what: `container ${id} was made from image ${image}, which has been deleted`,
        where,
        namespace: name,
        consequence: 'none: its files are its own',
        advice: 'nothing',
      })
    }
  }
}

function checkLeases({ findings, places }: Examination, namespace: Namespace): void {
  for (const { id, resources } of namespace.leases) {
    const gone = resources.filter((resource) => !isThere(namespace, resource.type, resource.id))
    if (resources.length > 0 && gone.length === 0) continue
    const { name } = namespace
    findings.add({
      kind: 'lease-dangling',
      level: 'note',
      what:
        resources.length === 0
          ? `lease ${id} holds nothing`
          : `lease ${id} holds ${gone.length} of ${resources.length} things that are not there`,
      where: `${places.metadata}: ${name}/leases/${id}`,
      namespace: name,
      details: gone.slice(0, 10).map((resource) => `${resource.type} ${resource.id}`),
      consequence: 'none, as long as whoever made it deletes it',
      advice: `ctr -n ${name} lease rm ${id}, if nobody works under it`,
    })
  }
}

function isThere(namespace: Namespace, type: string, id: string): boolean {
  if (type === 'content') return namespace.blobs.has(id)
  if (type === 'images') return namespace.images.some(({ name }) => name === id)
  if (type === 'ingests') return namespace.ingests.some(({ ref }) => ref === id)
  const snapshotter = type.slice('snapshots/'.length)
  return namespace.snapshots.get(snapshotter)?.has(id) === true
}

/** The snapshots of one namespace in one snapshotter. */
interface Group {
  readonly namespace: Namespace
  readonly snapshotter: string
  readonly snapshots: ReadonlyMap<string, Snapshot>
  readonly backend: Backend | undefined
}

function checkSnapshots(exam: Examination, group: Group): void {
  for (const snapshot of group.snapshots.values()) {
    checkChildren(exam, group, snapshot)
    // One that stands on nothing is lost, whether or not the backend has it.
    if (isOnNothing(group, snapshot)) onNothing(exam, group, snapshot)
    else checkBackend(exam, group, snapshot)
  }
}

const isOnNothing = ({ snapshots }: Group, { parent }: Snapshot): boolean =>
  parent !== '' && !snapshots.has(parent)

function onNothing(exam: Examination, group: Group, snapshot: Snapshot): void {
  broken(exam, group, snapshot, {
    kind: 'snapshot-parent-missing',
    what: `snapshot ${snapshot.key} stands on ${snapshot.parent}, which has no record`,
  })
}

function checkBackend(exam: Examination, group: Group, snapshot: Snapshot): void {
  const { backend } = group
  if (!backend?.complete || backend.byName.has(snapshot.name)) return
  broken(exam, group, snapshot, {
    kind: 'snapshot-backend-missing',
    what: `snapshot ${snapshot.key} is recorded, and ${group.snapshotter} does not know of ${snapshot.name}`,
  })
}

interface Break {
  readonly kind: 'snapshot-parent-missing' | 'snapshot-backend-missing'
  readonly what: string
}

/** Nothing that stands on a snapshot that is not there can be mounted: all of it can go, unless it is used. */
function broken(exam: Examination, group: Group, snapshot: Snapshot, { kind, what }: Break): void {
  const { namespace, snapshotter, snapshots } = group
  const keys = standingOn(snapshots, snapshot.key)
  const users = usersOf(namespace, snapshotter, keys)
  const record = `${exam.places.metadata}: ${namespace.name}/snapshots/${snapshotter}/${snapshot.key}`
  const finding = {
    kind,
    level: 'error',
    what,
    where: record,
    namespace: namespace.name,
    consequence: 'it cannot be mounted, and nor can what stands on it',
  } as const
  if (users.length > 0) {
    exam.findings.add({
      ...finding,
      details: users.map((id) => `used by container ${id}`),
      advice: `delete the containers that use it (ctr -n ${namespace.name} container rm ${users.join(' ')}) and let --repair drop it`,
    })
    return
  }
  exam.findings.add(
    {
      ...finding,
      advice:
        'with --repair its record goes, with those that stand on it; images unpack again when used',
    },
    {
      step: 'snapshots',
      run: async () => {
        const dropped = await dropSnapshots(exam, { namespace: namespace.name, snapshotter, keys })
        return { repaired: true, text: `${dropped} snapshot records are dropped` }
      },
    },
  )
}

/** `key`, and the keys of all that stands on it. */
function standingOn(snapshots: ReadonlyMap<string, Snapshot>, key: string): readonly string[] {
  const found = new Set([key])
  for (const each of found) {
    for (const { key: child, parent } of snapshots.values()) if (parent === each) found.add(child)
  }
  return [...found]
}

const usersOf = (namespace: Namespace, snapshotter: string, keys: readonly string[]): string[] =>
  Array.from(namespace.containers.values())
    .filter((each) => each.snapshotter === snapshotter && keys.includes(each.snapshotKey))
    .map(({ id }) => id)

function checkChildren(exam: Examination, group: Group, snapshot: Snapshot): void {
  const { namespace, snapshotter, snapshots } = group
  const gone = snapshot.children.filter((key) => snapshots.get(key)?.parent !== snapshot.key)
  if (gone.length === 0 || !exam.catalog.complete) return
  exam.findings.add(
    {
      kind: 'snapshot-child-missing',
      level: 'warning',
      what: `snapshot ${snapshot.key} lists ${gone.length} snapshots on top of it that are not there`,
      where: `${exam.places.metadata}: ${namespace.name}/snapshots/${snapshotter}/${snapshot.key}/children`,
      namespace: namespace.name,
      details: gone.slice(0, 10),
      consequence: 'it can never be removed',
      advice: 'with --repair they are taken off its list',
    },
    {
      step: 'records',
      run: async () => {
        const { key } = snapshot
        await forgetChildren(exam, { namespace: namespace.name, snapshotter, key, children: gone })
        return { repaired: true, text: 'they are off its list' }
      },
    },
  )
}

/** Snapshotters whose snapshots nobody here can look at. */
function checkSnapshotters({ backends, catalog, findings, places }: Examination): void {
  const used = catalog.namespaces.flatMap(({ snapshots }) =>
    Array.from(snapshots).flatMap(([name, inner]) => (inner.size > 0 ? [name] : [])),
  )
  const known = new Set<string>(places.snapshotters.map(({ name }) => name))
  for (const name of new Set(used)) {
    if (known.has(name) || backends.some(({ place }) => place.name === name)) continue
    findings.add({
      kind: 'snapshotter-unchecked',
      level: 'note',
      what: `snapshots of ${name} were not looked at: the doctor knows overlayfs and native`,
      where: `${places.metadata}: */snapshots/${name}`,
      consequence: 'what is wrong with them, if anything, is not told here',
      advice: 'nothing',
    })
  }
}
