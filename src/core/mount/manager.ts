import type { Context } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'

import type { Mount } from './mount.ts'

/** A mount that the manager has made. */
export interface ActiveMount extends Mount {
  readonly mountedAt: Date
  /** Where it is: a directory, or for `loop` a link to the device. */
  readonly mountPoint: string
  /** What its handler wants later ones to know. */
  readonly data?: Readonly<Record<string, string>>
}

/** What came of an activation. */
export interface Activation {
  /** Unique in its namespace. */
  readonly name: string
  /** What the manager has mounted, in order. */
  readonly active: readonly ActiveMount[]
  /** What is left to mount, by whoever wants to see the tree; empty when all of it is active. */
  readonly system: readonly Mount[]
  readonly labels: Labels
}

export interface ActivateOptions {
  readonly labels?: Labels
  /** Mount everything, and give a bind mount of it: somebody only wants to look. */
  readonly temporary?: boolean
  /** Types that the caller handles itself: `loop`, or `format/*` for whatever is formatted. */
  readonly allow?: readonly string[]
}

/** Mounts that are active until this is disposed of, or this process ends. */
export interface HeldMounts extends AsyncDisposable {
  /** What is left to mount; never empty unless nothing was asked for. */
  readonly system: readonly Mount[]
}

/**
 * Makes mounts that need more than a system call: of types that a handler knows (`erofs`, `loop`), or
 * that must be transformed first, as a prefix of the type says:
 *
 * - `format/`: source, target and options are templates that name earlier mounts of the same list:
 *   `{{ mount 0 }}` where it is, `{{ source 0 }}`, `{{ target 0 }}`, `{{ overlay 0 2 }}` the places of
 *   several joined by `:`.
 * - `mkdir/`: makes the directories of the options `X-containerd.mkdir.path=<dir>[:<mode>[:<uid>:<gid>]]`.
 * - `mkfs/`: makes the file that is its source, if it is missing, with a file system in it, of the
 *   options `X-containerd.mkfs.size`, `.fs` and `.uuid`.
 *
 * Prefixes are applied from left to right. What comes before a mount that is handled or transformed is
 * mounted too; the rest is left to the caller, who may mount it elsewhere, as a container's root.
 *
 * An activation has a name and a record, and is there until it is deactivated, or collected as garbage:
 * it lives while its lease does (`ctx.lease`) or what a label `containerd.io/gc.bref.*` of it names, or
 * if it has neither until the next collection. Every method but `hold` needs `ctx.namespace`.
 *
 * Source: upstream `core/mount/manager.go` and `docs/mounts.md`.
 */
export interface MountManager extends AsyncDisposable {
  /**
   * Activates `mounts` under `name`. When it fails nothing of them stays.
   *
   * @throws `unimplemented` when there is nothing for the manager to do: all of them can be mounted as
   * they are; `already_exists`; `invalid_argument` for what cannot be read; what handlers throw.
   */
  activate(
    ctx: Context,
    name: string,
    mounts: readonly Mount[],
    options?: ActivateOptions,
  ): Promise<Activation>

  /**
   * Undoes an activation.
   *
   * @throws `not_found`; `failed_precondition` while a mount is in use: the activation stays then.
   */
  deactivate(ctx: Context, name: string): Promise<void>

  /** @throws `not_found`. */
  info(ctx: Context, name: string): Promise<Activation>

  /** Changes labels: those of `paths` (`labels`, `labels.<key>`), or all. @throws `not_found`; `invalid_argument` for a path. */
  update(
    ctx: Context,
    info: Pick<Activation, 'name' | 'labels'>,
    paths: readonly string[],
  ): Promise<Activation>

  /** Those that match any of `filters` (`name`, `labels.<key>`); all when there is none. */
  list(ctx: Context, filters?: readonly string[]): Promise<readonly Activation[]>

  /** Whether `activate` would have something to do. */
  handles(mounts: readonly Mount[], options?: ActivateOptions): boolean

  /**
   * Activates `mounts` for this process alone, without a name or a record: for a while, to read or to
   * write what is in them. Mounts that can be made as they are come back as they are.
   */
  hold(ctx: Context, mounts: readonly Mount[]): Promise<HeldMounts>
}

/** Makes mounts of a type that the kernel does not know, or not in this form. */
export interface MountHandler {
  /**
   * Makes the mount at `point`, which does not exist yet but its directory does.
   *
   * @param before the mounts that came earlier in the list.
   */
  mount(
    ctx: Context,
    mount: Mount,
    point: string,
    before: readonly ActiveMount[],
  ): Promise<ActiveMount>

  /** Undoes the mount at `point`; none, or half of one that a killed daemon has left, is fine. */
  unmount(ctx: Context, point: string): Promise<void>

  /** Whether the mount at `point` is still there: after a reboot it is not. True when it cannot be known. */
  isMounted(point: string): boolean
}
