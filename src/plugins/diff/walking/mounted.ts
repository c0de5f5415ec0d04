import { mkdtempSync, readdirSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { threadId } from 'node:worker_threads'

import type { Mount } from '#core/mount/mount.ts'
import { invalidArgument } from '#lib/errors/errors.ts'
import { isErrno } from '#sys/errno.ts'
import { mountAll, unmountRecursive } from '#sys/mount.ts'

import type { ExtractTarget } from './extractor.ts'
import { inUserNamespace } from './user-namespace.ts'

/** A directory where mounts can be looked at, until it is disposed of. */
export interface Mounted extends Disposable {
  readonly path: string
}

/** Mounts `mounts` in a directory of their own below `tempDir`. @throws {SystemError} */
export function mountTemporarily(mounts: readonly Mount[], tempDir: string): Mounted {
  using undo = new DisposableStack()
  const path = undo.adopt(mkdtempSync(join(tempDir, prefixOf(threadId))), rmdirSync)
  undo.defer(() => unmountHard(path))
  mountAll(mounts, path)
  const owned = undo.move()
  return { path, [Symbol.dispose]: () => owned.dispose() }
}

/**
 * Removes what a daemon that was killed left in `tempDir`, or only what the thread `of` did. One that
 * cannot be removed goes to `onError` and is left for the next start: it must not keep this one from
 * starting.
 */
export function removeLeftMounts(
  tempDir: string,
  onError: (path: string, error: unknown) => void,
  of?: number,
): void {
  const start = of === undefined ? prefix : prefixOf(of)
  for (const name of readdirSync(tempDir)) {
    if (!name.startsWith(start)) continue
    const path = join(tempDir, name)
    try {
      unmountRecursive(path, { detach: true })
      rmdirSync(path)
    } catch (err) {
      onError(path, err)
    }
  }
}

const prefix = 'containerd-mount'
const prefixOf = (thread: number): string => `${prefix}${thread}-`

/** A busy mount is taken out of sight, and goes when its user does. */
function unmountHard(path: string): void {
  try {
    unmountRecursive(path)
  } catch (err) {
    if (!isErrno(err, 'EBUSY')) throw err
    unmountRecursive(path, { detach: true })
  }
}

/** Where to unpack to, until it is disposed of. */
export interface Target extends Disposable {
  readonly target: ExtractTarget
}

export interface TargetOptions {
  /** Where what is mounted is mounted. */
  readonly tempDir: string
  /** An overlay without lower directories will get some later: to need them is an error. */
  readonly alone?: boolean | undefined
  /** But not directories that the archive leaves out. */
  readonly settles?: boolean | undefined
}

const nothing = (): void => undefined

/**
 * The directory that takes the files of a layer: the upper one of an overlay and the source of a bind
 * mount directly, which saves the way through the mount; anything else is mounted.
 *
 * @throws {SystemError}; `invalid_argument` without a mount.
 */
export function openTarget(mounts: readonly Mount[], options: TargetOptions): Target {
  const [only] = mounts
  if (!only) throw invalidArgument('no mounts to unpack to')
  if (mounts.length === 1 && !only.target) {
    const target = directTarget(only, options)
    if (target) return { target, [Symbol.dispose]: nothing }
  }
  const mounted = mountTemporarily(mounts, options.tempDir)
  return { target: { path: mounted.path }, [Symbol.dispose]: () => mounted[Symbol.dispose]() }
}

function directTarget(mount: Mount, options: TargetOptions): ExtractTarget | undefined {
  const { type, source, options: given } = mount
  const mapped = given.some((option) => /^[ug]idmap=/.test(option))
  if (type === 'bind') {
    return given.includes('ro') || mapped ? undefined : { path: source }
  }
  const upper = valueOf(given, 'upperdir')
  // In a user namespace nobody may make the devices that stand for deleted files.
  if (type !== 'overlay' || upper === undefined || inUserNamespace()) return undefined
  const lowers = splitLowers(valueOf(given, 'lowerdir') ?? '')
  const known = lowers.length > 0
  const alone = options.alone === true && !known
  const overlay = {
    lowers,
    userxattr: given.includes('userxattr'),
    alone,
    left: alone && options.settles === true ? new Set<string>() : undefined,
    mount: known ? () => mountTemporarily([mount], options.tempDir) : undefined,
  }
  return { path: unescaped(upper), overlay }
}

function valueOf(options: readonly string[], key: string): string | undefined {
  return options.findLast((option) => option.startsWith(`${key}=`))?.slice(key.length + 1)
}

const splitLowers = (value: string): readonly string[] =>
  (value.match(/(?:\\.|[^:\\])+/gs) ?? []).map(unescaped)

/** Overlay writes `\` before characters that mean something to it. */
const unescaped = (path: string): string => path.replace(/\\(.)/gs, '$1')

/** `mounts` for looking only: an overlay without its upper directory, the rest read-only. */
export function readOnly(mounts: readonly Mount[]): readonly Mount[] {
  return mounts.map((mount) => ({
    ...mount,
    options:
      mount.type === 'overlay'
        ? readOnlyOverlay(mount.options)
        : [...mount.options.filter((option) => option !== 'rw' && option !== 'ro'), 'ro'],
  }))
}

function readOnlyOverlay(options: readonly string[]): readonly string[] {
  const upper = valueOf(options, 'upperdir')
  return options
    .filter((option) => !/^(?:workdir|upperdir|uidmap|gidmap)=/.test(option))
    .map((option) =>
      upper !== undefined && option.startsWith('lowerdir=')
        ? `lowerdir=${upper}:${option.slice('lowerdir='.length)}`
        : option,
    )
}
