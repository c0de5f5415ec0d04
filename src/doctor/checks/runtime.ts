import { lstat, readFile, rmdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'

import { removeTree } from '#lib/fs/remove-tree.ts'
import { deleteBundle } from '#plugins/runtime/bundle.ts'
import { unmountRecursive } from '#sys/mount.ts'
import type { MountInfo } from '#sys/mount-info.ts'

import type { Examination } from '#doctor/context.ts'
import { listDirectory } from '#doctor/files.ts'
import { notRepaired, repaired } from '#doctor/findings.ts'
import { allMounts, isMountedBelow } from '#doctor/mounted.ts'

import { isServed } from './is-served.ts'

/** What tasks, shims and unpackings have left, though nobody uses it any more. */
export async function checkRuntime(exam: Examination): Promise<void> {
  const mounts = allMounts()
  const bundles = await checkBundles(exam, mounts)
  await checkWork(exam, bundles)
  await checkRunc(exam, bundles)
  await checkSockets(exam)
  await checkTemporaryMounts(exam, mounts)
}

/** A container by its place: `<namespace>/<id>`. */
type Places = ReadonlySet<string>

async function checkBundles(exam: Examination, mounts: readonly MountInfo[]): Promise<Places> {
  const found = new Set<string>()
  for (const namespace of await listDirectory(exam.places.bundles)) {
    for (const id of await listDirectory(join(exam.places.bundles, namespace))) {
      const path = join(exam.places.bundles, namespace, id)
      if (id.startsWith('.')) left(exam, 'bundle-left', path, 'a bundle was not removed to its end')
      else {
        found.add(`${namespace}/${id}`)
        await checkBundle(exam, { namespace, id, path }, mounts)
      }
    }
  }
  return found
}

interface Bundle {
  readonly namespace: string
  readonly id: string
  readonly path: string
}

/** A bundle is of a container that has a record; of another one it is left, unless that still runs. */
async function checkBundle(
  exam: Examination,
  bundle: Bundle,
  mounts: readonly MountInfo[],
): Promise<void> {
  const { namespace, id, path } = bundle
  const owner = exam.catalog.namespaces.find(({ name }) => name === namespace)
  if (!exam.catalog.complete || owner?.containers.has(id)) return
  const pid = await runningPid(path)
  if (pid !== undefined) {
    exam.findings.add({
      kind: 'container-unrecorded',
      level: 'error',
      what: `container ${id} runs (process ${pid}) and has no record`,
      where: path,
      namespace,
      consequence: 'no client can stop it or make it anew',
      advice: `end it (kill -9 ${pid}), and let --repair remove its bundle`,
    })
    return
  }
  const mounted = isMountedBelow(path, mounts)
  exam.findings.add(
    {
      kind: 'bundle-left',
      level: 'warning',
      what: `a bundle of container ${id} is left, and there is no such container`,
      where: path,
      namespace,
      consequence: mounted
        ? 'its root file system is still mounted, which keeps its snapshot from being removed'
        : 'it is in the way of a container of that name',
      advice: 'with --repair it is removed',
    },
    {
      step: 'leftovers',
      run: async () => {
        if ((await runningPid(path)) !== undefined) return notRepaired('it runs now')
        await deleteBundle(bundle)
        await removeTree(join(exam.places.runc, namespace, id), exam)
        return repaired('removed')
      },
    },
  )
}

/** The process of a container that still runs. */
async function runningPid(bundle: string): Promise<number | undefined> {
  const text = await readFile(join(bundle, 'init.pid'), 'utf8').catch(() => '')
  const pid = Number(text)
  if (!Number.isSafeInteger(pid) || pid <= 1) return undefined
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // The name of the program is in parentheses, and may have any character.
  const state = status.slice(status.lastIndexOf(')') + 2, status.lastIndexOf(')') + 3)
  return state === '' || state === 'Z' || state === 'X' ? undefined : pid
}

/** Directories of tasks below the root: the bundle comes with its own, and goes with it. */
async function checkWork(exam: Examination, bundles: Places): Promise<void> {
  for (const namespace of await listDirectory(exam.places.work)) {
    for (const id of await listDirectory(join(exam.places.work, namespace))) {
      if (bundles.has(`${namespace}/${id}`)) continue
      const path = join(exam.places.work, namespace, id)
      left(exam, 'runtime-directory-left', path, 'a work directory of no bundle is left')
    }
  }
}

/** The OCI runtime's own records of containers. */
async function checkRunc(exam: Examination, bundles: Places): Promise<void> {
  for (const namespace of await listDirectory(exam.places.runc)) {
    for (const id of await listDirectory(join(exam.places.runc, namespace))) {
      if (bundles.has(`${namespace}/${id}`)) continue
      const path = join(exam.places.runc, namespace, id)
      if (await runcRuns(path)) continue
      left(exam, 'runtime-directory-left', path, 'the OCI runtime knows a container of no bundle')
    }
  }
}

async function runcRuns(path: string): Promise<boolean> {
  const text = await readFile(join(path, 'state.json'), 'utf8').catch(() => '')
  const pid = /"init_process_pid"\s*:\s*(\d+)/.exec(text)?.[1]
  return pid !== undefined && (await lstat(`/proc/${pid}`).catch(() => undefined)) !== undefined
}

async function checkSockets(exam: Examination): Promise<void> {
  for (const name of await listDirectory(exam.places.sockets)) {
    const path = join(exam.places.sockets, name)
    const isSocket = (await lstat(path)).isSocket()
    if (!isSocket || (await isServed(path))) continue
    exam.findings.add(
      {
        kind: 'shim-socket-left',
        level: 'warning',
        what: 'nobody serves at the socket of a shim',
        where: path,
        consequence: 'its shim was killed; the name is in the way until it is removed',
        advice: 'with --repair it is removed',
      },
      {
        step: 'leftovers',
        run: async () => {
          if (await isServed(path)) return notRepaired('somebody serves there now')
          await unlink(path)
          return repaired('removed')
        },
      },
    )
  }
}

/** As `#plugins/diff/walking/mounted.ts` names them. */
const temporaryPrefix = 'containerd-mount'

async function checkTemporaryMounts(
  { findings, places }: Examination,
  mounts: readonly MountInfo[],
): Promise<void> {
  for (const name of await listDirectory(places.temporaryMounts)) {
    if (!name.startsWith(temporaryPrefix)) continue
    const path = join(places.temporaryMounts, name)
    const mounted = isMountedBelow(path, mounts)
    findings.add(
      {
        kind: 'temporary-mount-left',
        level: 'warning',
        what: mounted
          ? 'a mount that an unpacking needed for a while is still there'
          : 'the directory of a temporary mount is left',
        where: path,
        consequence: mounted ? 'it keeps a snapshot from being removed' : 'none',
        advice: 'with --repair it is removed; a daemon that starts does so, too',
      },
      {
        step: 'leftovers',
        run: async () => {
          unmountRecursive(path, { detach: true })
          await rmdir(path)
          return repaired('removed')
        },
      },
    )
  }
}

function left(
  exam: Examination,
  kind: 'bundle-left' | 'runtime-directory-left',
  path: string,
  what: string,
): void {
  exam.findings.add(
    {
      kind,
      level: 'warning',
      what,
      where: path,
      consequence: 'it takes up space',
      advice: 'with --repair it is removed, unless something is mounted in it',
    },
    {
      step: 'leftovers',
      run: async () => {
        if (isMountedBelow(path, allMounts())) return notRepaired('something is mounted in it')
        await removeTree(path, exam)
        return repaired('removed')
      },
    },
  )
}
