import {
  chmodSync,
  chownSync,
  mkdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  rmdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

import { type Any, jsonTypes } from '#core/any/any.ts'
import { validateIdentifier } from '#core/identifiers/identifiers.ts'
import type { LocalMountManager } from '#core/mount/manager.ts'
import { alreadyExists, describe, invalidArgument } from '#lib/errors/errors.ts'
import { fullDisk } from '#lib/fs/full-disk.ts'
import { isErrno } from '#sys/errno.ts'
import { unmountRecursive } from '#sys/mount.ts'

/*
 * A bundle, as containerd lays it out:
 *
 *   <state>/<namespace>/<id>/            0700; 0710 and the group of the container's root if remapped
 *     config.json                        the spec, byte for byte
 *     rootfs/                            0711, the shim mounts here
 *     work -> <root>/<namespace>/<id>/   0711
 *     log                                FIFO 0700, the shim's messages
 *     shim-binary-path                   0600, program of the shim
 *     sandbox                            0600, the sandbox whose shim serves it, if one does
 *     bootstrap.json                     0644, how to reach the shim
 *   and what the shim adds: address, init.pid, log.json, options.json, runtime
 *
 * A directory that is being removed is first renamed to `.<id>`.
 */

/** A directory that a container runs from. */
export interface Bundle {
  readonly namespace: string
  readonly id: string
  readonly path: string
  /** Keeps the mounts that its root stands on, under its id. */
  readonly mounts?: LocalMountManager
}

/** Where bundles and work directories are. */
export interface BundleRoots {
  readonly root: string
  readonly state: string
  readonly mounts?: LocalMountManager
}

/** The bundle of a task that was made earlier. */
export const bundleOf = (roots: BundleRoots, namespace: string, id: string): Bundle => ({
  namespace,
  id,
  path: join(roots.state, namespace, id),
  ...(roots.mounts && { mounts: roots.mounts }),
})

/**
 * Makes the bundle of a new task, or of a sandbox, which may have no spec. When it fails nothing of
 * it stays.
 *
 * @throws `invalid_argument` for a bad id; `already_exists`; `resource_exhausted` on a full disk.
 */
export function createBundle(
  roots: BundleRoots,
  namespace: string,
  id: string,
  spec: Any | undefined,
): Bundle {
  checkId(id)
  const bundle = bundleOf(roots, namespace, id)
  try {
    makeBundle(bundle, join(roots.root, namespace, id), spec)
    return bundle
  } catch (err) {
    throw fullDisk(err, bundle.path)
  }
}

function makeBundle(bundle: Bundle, work: string, spec: Any | undefined): void {
  using undo = new DisposableStack()
  mkdirSync(dirname(bundle.path), { recursive: true, mode: 0o711 })
  makeDirectory(bundle)
  undo.defer(() => rmSync(bundle.path, { recursive: true, force: true }))
  if (spec) allowRemappedGroup(bundle.path, spec)
  mkdirSync(join(bundle.path, 'rootfs'), { mode: 0o711 })

  mkdirSync(dirname(work), { recursive: true, mode: 0o711 })
  rmSync(work, { recursive: true, force: true })
  mkdirSync(work, { mode: 0o711 })
  undo.defer(() => rmSync(work, { recursive: true, force: true }))
  symlinkSync(work, join(bundle.path, 'work'))
  if (spec) writeFileSync(join(bundle.path, 'config.json'), spec.value)
  undo.move()
}

/** Removes a bundle, its work directory, and what is mounted below; half of one is fine too. */
export async function deleteBundle(bundle: Bundle): Promise<void> {
  const work = workDirectory(bundle)
  removeRootfs(join(bundle.path, 'rootfs'))
  const hidden = hide(bundle.path)
  const hiddenWork = work && !removeEmpty(work) ? hide(work) : undefined
  // A few small files: a task for the thread pool each would take ten times as long.
  rmSync(hidden, { recursive: true, force: true })
  if (hiddenWork) await rm(hiddenWork, { recursive: true, force: true })
}

/** Whether a directory is gone; one that has something in it stays. */
function removeEmpty(path: string): boolean {
  try {
    rmdirSync(path)
    return true
  } catch (err) {
    if (isErrno(err, 'ENOTEMPTY', 'EEXIST')) return false
    if (isErrno(err, 'ENOENT')) return true
    throw err
  }
}

function checkId(id: string): void {
  try {
    validateIdentifier(id)
  } catch (err) {
    throw invalidArgument(`invalid task id ${id}: ${describe(err)}`, { cause: err })
  }
}

function makeDirectory(bundle: Bundle): void {
  try {
    mkdirSync(bundle.path, { mode: 0o700 })
  } catch (err) {
    if (!isErrno(err, 'EEXIST')) throw err
    throw alreadyExists(`task ${bundle.id}`, { cause: err })
  }
}

/** Lets the container's own root, if it is another group on the host, reach the bundle. */
function allowRemappedGroup(path: string, spec: Any): void {
  if (spec.typeUrl !== jsonTypes.spec) return
  const gid = remappedGroup(spec.value)
  if (gid === 0) return
  chownSync(path, process.getuid?.() ?? 0, gid)
  chmodSync(path, 0o710)
}

interface SpecWithMappings {
  readonly linux?: {
    readonly gidMappings?: readonly { readonly containerID: number; readonly hostID: number }[]
  }
}

function remappedGroup(spec: Uint8Array): number {
  // Most specs do not have the word: they need not be parsed.
  if (!Buffer.from(spec.buffer, spec.byteOffset, spec.length).includes('gidMappings')) return 0
  const { linux } = parseSpec(spec)
  return linux?.gidMappings?.find(({ containerID }) => containerID === 0)?.hostID ?? 0
}

function parseSpec(spec: Uint8Array): SpecWithMappings {
  try {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what else it has is left alone
    return JSON.parse(new TextDecoder().decode(spec)) as SpecWithMappings
  } catch (err) {
    throw invalidArgument(`cannot parse the spec: ${describe(err)}`, { cause: err })
  }
}

function workDirectory(bundle: Bundle): string | undefined {
  try {
    return readlinkSync(join(bundle.path, 'work'))
  } catch (err) {
    if (!isErrno(err, 'ENOENT', 'EINVAL')) throw err
    return undefined
  }
}

/** Never removes what is inside: something may still be mounted there. */
function removeRootfs(path: string): void {
  try {
    rmdirSync(path)
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return
    if (!isErrno(err, 'EBUSY', 'ENOTEMPTY')) throw err
    unmount(path)
    rmdirSync(path)
  }
}

/** What a container that is just being killed still uses is unmounted when it lets go. */
function unmount(path: string): void {
  try {
    unmountRecursive(path)
  } catch (err) {
    if (!isErrno(err, 'EBUSY')) throw err
    unmountRecursive(path, { detach: true })
  }
}

/** Takes the name away at once, so that it can be used again; gives where the rest is. */
export function hide(path: string): string {
  const hidden = join(dirname(path), `.${basename(path)}`)
  try {
    renameSync(path, hidden)
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return hidden
    if (!isErrno(err, 'ENOTEMPTY', 'EEXIST')) throw err
    rmSync(hidden, { recursive: true, force: true })
    renameSync(path, hidden)
  }
  return hidden
}
