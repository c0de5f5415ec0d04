import { randomBytes } from 'node:crypto'
import { chmod, lchown, mkdir, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { dataLoss } from '#lib/errors/errors.ts'
import { removeTree } from '#lib/fs/remove-tree.ts'
import { upperDir } from '#plugins/snapshots/overlay/mounts.ts'
import { isErrno } from '#sys/errno.ts'
import { AT_FDCWD, Rename, renameat2 } from '#sys/file.ts'

import { directoryOf, snapshotsDirectory } from '#doctor/backend.ts'
import type { Examination } from '#doctor/context.ts'
import { syncDirectory } from '#doctor/files.ts'
import type { Outcome } from '#doctor/finding.ts'
import type { LayerBlob } from '#doctor/layer/check-layer.ts'
import { allMounts, entriesMounted } from '#doctor/mounted.ts'
import type { SnapshotterPlace } from '#doctor/places.ts'
import type { CheckJob } from '#doctor/crew/jobs.ts'

type Exam = Pick<Examination, 'crew' | 'signal'>

/** How to make the files of a committed snapshot once more. */
export interface Unpacking {
  readonly place: SnapshotterPlace
  /** The name of its directory. */
  readonly id: string
  /** From the bottom up, each with the digest it has when it is not compressed. */
  readonly blobs: readonly LayerBlob[]
  readonly diffIds: readonly string[]
  /** The files of the snapshots below, nearest first. */
  readonly below: readonly string[]
  /** What to compare the result with. */
  readonly check: CheckJob
}

/**
 * Unpacks a layer into a new directory, durably, compares it with its blob, and lets it take the place
 * of the damaged one in one step: whenever this is cut off, the snapshot has the files of one of the
 * two. It does not touch what a process has mounted.
 */
export async function unpackAgain(exam: Exam, unpacking: Unpacking): Promise<Outcome> {
  const dir = snapshotsDirectory(unpacking.place)
  if (isMounted(unpacking)) return inUse
  const made = join(dir, `new-${randomBytes(6).toString('hex')}`)
  await using undo = new AsyncDisposableStack()
  undo.defer(async () => void (await removeTree(made)))
  await fill(exam, unpacking, made)
  await compare(exam, unpacking, made)
  if (isMounted(unpacking)) return inUse
  // What was in its place, if anything, is at `made` after this, and goes.
  await swap(made, directoryOf(unpacking.place, unpacking.id))
  await syncDirectory(dir)
  return { repaired: true, text: 'unpacked again from its blob, and compared with it' }
}

const inUse: Outcome = {
  repaired: false,
  text: 'a process has it mounted, a running container perhaps: end that, and run the doctor again',
}

const isMounted = ({ place, id }: Unpacking): boolean =>
  entriesMounted(snapshotsDirectory(place), allMounts()).has(id)

const filesIn = ({ place }: Unpacking, directory: string): string =>
  place.name === 'overlayfs' ? upperDir(directory) : directory

async function fill(exam: Exam, unpacking: Unpacking, made: string): Promise<void> {
  const overlay = unpacking.place.name === 'overlayfs'
  await mkdir(made, { mode: 0o700 })
  const directory = filesIn(unpacking, made)
  if (overlay) await mkdir(directory)
  await chmod(directory, 0o755)
  const [nearest] = unpacking.below
  if (nearest !== undefined) {
    const { uid, gid } = await stat(nearest)
    await lchown(directory, uid, gid)
  }
  // Alone it is unpacked as onto a plain directory, where there is nothing to be marked as deleted.
  const lowers = overlay && nearest !== undefined ? unpacking.below : undefined
  for (const [index, blob] of unpacking.blobs.entries()) {
    const job = { kind: 'unpack', blob, directory, lowers } as const
    const { digest } = await exam.crew.run<'unpack'>(job, exam.signal)
    const wanted = unpacking.diffIds[index]
    if (digest !== wanted) throw dataLoss(`the blob unpacks to ${digest} instead of ${wanted}`)
  }
}

async function compare(exam: Exam, unpacking: Unpacking, made: string): Promise<void> {
  const job = { ...unpacking.check, directory: filesIn(unpacking, made) }
  const { different, differences } = await exam.crew.run<'check'>(job, exam.signal)
  if (different > 0)
    throw dataLoss(`what was unpacked again differs, too: ${differences.join('; ')}`)
}

/** Puts `made` in the place of `target`, which is at `made` then if it was there. */
async function swap(made: string, target: string): Promise<void> {
  try {
    renameat2(AT_FDCWD, made, AT_FDCWD, target, Rename.exchange)
  } catch (err) {
    if (isErrno(err, 'ENOENT')) await rename(made, target)
    else if (isErrno(err, 'EINVAL', 'ENOSYS')) await swapInSteps(made, target)
    else throw err
  }
}

/** For file systems that cannot exchange two names. */
async function swapInSteps(made: string, target: string): Promise<void> {
  const old = `${made}-old`
  await rename(target, old)
  await rename(made, target)
  await rename(old, made)
}
