import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'

import type { StoredSnapshot } from '#core/snapshots/storage/storage.ts'
import { removeTree } from '#lib/fs/remove-tree.ts'
import { workDir } from '#plugins/snapshots/overlay/mounts.ts'

import { type Backend, directoryOf, filesOf, snapshotsDirectory } from '#doctor/backend.ts'
import type { Examination } from '#doctor/context.ts'
import { kindOf, listDirectory } from '#doctor/files.ts'
import { allMounts, entriesMounted } from '#doctor/mounted.ts'

import { ownerOf } from './owners.ts'

/** Snapshots of one snapshotter whose files are not where they should be, by name. */
export type Homeless = ReadonlySet<string>

/**
 * The records of a snapshotter against its directories, both ways.
 *
 * @returns the names of committed snapshots that have no files: they can be unpacked again.
 */
export async function checkDirectories(exam: Examination, backend: Backend): Promise<Homeless> {
  const homeless = new Set<string>()
  exam.counts.snapshots += backend.byName.size
  checkUnreadable(exam, backend)
  for (const snapshot of backend.byName.values()) {
    exam.signal.throwIfAborted()
    checkParent(exam, backend, snapshot)
    if (!ownerOf(exam, backend, snapshot.info.name)) unrecorded(exam, backend, snapshot)
    else if (!(await hasFiles(exam, backend, snapshot))) homeless.add(snapshot.info.name)
  }
  if (backend.complete) await checkLeftovers(exam, backend)
  return homeless
}

/** Damaged pages have been told already, unless nobody has looked at all of them. */
function checkUnreadable({ findings, quick }: Examination, { place, unreadable }: Backend): void {
  const path = join(place.root, 'metadata.db')
  for (const { name, why } of unreadable) {
    if (name === '' && !quick) continue
    findings.add({
      kind: name === '' ? 'database-damaged' : 'record-unreadable',
      level: 'error',
      what: name === '' ? `a page of metadata.db is damaged: ${why}` : `snapshot ${name}: ${why}`,
      where: `${path}: ${name}`,
      consequence: 'its snapshots cannot be mounted, and directories cannot be told from garbage',
      advice: `wharf doctor db ${path} looks at every page of the file`,
    })
  }
}

function checkParent(exam: Examination, backend: Backend, { info }: StoredSnapshot): void {
  if (info.parent === '' || backend.byName.has(info.parent) || !backend.complete) return
  exam.findings.add({
    kind: 'snapshot-parent-missing',
    level: 'error',
    what: `${backend.place.name} has snapshot ${info.name} on ${info.parent}, of which it has no record`,
    where: `${join(backend.place.root, 'metadata.db')}: ${info.name}`,
    consequence: 'it cannot be mounted, and nor can what stands on it',
    advice: 'delete what uses it; its image unpacks again when it is used',
  })
}

function unrecorded(
  { catalog, findings }: Examination,
  { place }: Backend,
  { id, info }: StoredSnapshot,
): void {
  if (!catalog.complete) return
  findings.add({
    kind: 'snapshot-unrecorded',
    level: 'note',
    what: `${place.name} has snapshot ${info.name}, which is in no namespace`,
    where: directoryOf(place, id),
    consequence: 'it takes up space until then',
    advice: 'nothing: the first collection of a daemon on this root removes it',
  })
}

async function hasFiles(
  exam: Examination,
  backend: Backend,
  snapshot: StoredSnapshot,
): Promise<boolean> {
  const { id, info } = snapshot
  const { place } = backend
  // Its parent's files are its own.
  if (place.name === 'native' && info.kind === 'view' && info.parent !== '') return true
  const path = filesOf(place, id)
  if ((await kindOf(path)) === 'directory') {
    if (place.name === 'overlayfs' && info.kind === 'active')
      await checkWork(exam, backend, snapshot)
    return true
  }
  if (info.kind === 'committed') return false
  exam.findings.add({
    kind: 'snapshot-directory-missing',
    level: 'error',
    what: `the files of ${info.kind} snapshot ${info.name} are gone`,
    where: path,
    namespace: ownerOf(exam, backend, info.name)?.namespace,
    consequence: 'the container that uses it cannot be started, and what it had written is gone',
    advice: 'delete the container, and make it anew',
  })
  return true
}

/** Scratch space: nothing is in it that counts while nothing is mounted. */
async function checkWork(
  { findings }: Examination,
  { place }: Backend,
  { id, info }: StoredSnapshot,
): Promise<void> {
  const path = workDir(directoryOf(place, id))
  if ((await kindOf(path)) === 'directory') return
  findings.add(
    {
      kind: 'snapshot-directory-missing',
      level: 'error',
      what: `active snapshot ${info.name} has no work directory`,
      where: path,
      consequence: 'overlayfs cannot mount it: its container cannot be started',
      advice: 'with --repair an empty one is made',
    },
    {
      step: 'snapshots',
      run: async () => {
        await mkdir(path, { mode: 0o711 })
        return { repaired: true, text: 'made' }
      },
    },
  )
}

/** What is in `snapshots` and has no record: half made, half removed, or of a record that was lost. */
async function checkLeftovers(exam: Examination, backend: Backend): Promise<void> {
  const dir = snapshotsDirectory(backend.place)
  const ids = new Set(Array.from(backend.byName.values(), ({ id }) => id))
  const left = (await listDirectory(dir)).filter((name) => !ids.has(name))
  if (left.length === 0) return
  for (const name of left) {
    const path = join(dir, name)
    exam.findings.add(
      {
        kind: 'snapshot-directory-left',
        level: 'warning',
        what: `${backend.place.name} has a directory that belongs to no snapshot: ${name}`,
        where: path,
        consequence: 'it takes up space',
        advice: 'with --repair it is removed, unless something is mounted from it',
      },
      {
        step: 'leftovers',
        run: async () => {
          if (entriesMounted(dir, allMounts()).has(name)) {
            return { repaired: false, text: 'a process has it mounted; end that first' }
          }
          await removeTree(path, exam)
          return { repaired: true, text: 'removed' }
        },
      },
    )
  }
}
