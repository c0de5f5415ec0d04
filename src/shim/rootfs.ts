import { close, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

import type { Logger } from '#core/context.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { deadlineExceeded, describe } from '#lib/errors/errors.ts'
import { servedSource } from '#sys/mount-trust.ts'
import { type Mount, detachRecursive, mountAll } from '#sys/mount.ts'

import { mountApart } from './mount-apart.ts'

const closeFile = promisify(close)

/** How long the end of a host waits for what was written to its last root file systems, ms. */
const closingMs = 5_000

/** A root file system that was put together here. */
export interface Rootfs {
  /** Takes it away. It is out of sight at once, and ends in the background. @throws why it stays. */
  release(): void
}

/**
 * The root file systems of a host's containers, each at `<bundle>/rootfs`.
 *
 * The kernel writes what is left of an overlay to the disk when its last user goes, which takes a
 * tenth of a second where it takes long. So a mount is only detached here, a descriptor keeps it
 * until a thread of Node's pool closes that, and a directory is written to by one overlay at a time.
 *
 * What another program or machine answers for (FUSE, NFS) is mounted by a process of its own.
 */
export class RootfsMounts implements AsyncDisposable {
  readonly #log: Logger
  /** By what an overlay that is about to end writes to. */
  readonly #closing = new Map<string, Promise<void>>()
  readonly #pending = new Set<Promise<void>>()

  constructor(log: Logger) {
    this.#log = log
  }

  /**
   * Mounts for container `id`; without mounts all is there already, or the spec names another place.
   *
   * @throws why a mount failed, or what has not answered when `signal` aborted.
   */
  async mount(
    id: string,
    bundle: string,
    mounts: readonly Mount[],
    signal: AbortSignal,
  ): Promise<Rootfs> {
    if (mounts.length === 0) return { release: () => {} }
    const path = join(bundle, 'rootfs')
    const written = mounts.flatMap(({ options }) => writtenBy(options))
    const release = (): void => this.#release(id, path, written)
    mkdirSync(path, { recursive: true, mode: 0o711 })
    for (const dir of written) await this.#awaitEnd(dir, signal)
    try {
      const source = servedSource(mounts)
      if (source === undefined) mountAll(mounts, path)
      else await mountApart({ mounts, target: path }, source, signal)
    } catch (err) {
      release()
      throw new Error('failed to mount rootfs component', { cause: err })
    }
    return { release }
  }

  /** Waits for the overlay that wrote to `dir` before. */
  async #awaitEnd(dir: string, signal: AbortSignal): Promise<void> {
    const closing = this.#closing.get(dir)
    if (!closing) return
    try {
      await raceAbort(closing, signal)
    } catch (err) {
      const why = `the overlay that wrote to ${dir} before has not ended in time; try again`
      throw deadlineExceeded(`failed to mount rootfs component: ${why}`, { cause: err })
    }
  }

  /** One that another host has put together. */
  adopt(id: string, bundle: string): Rootfs {
    return { release: () => this.#release(id, join(bundle, 'rootfs'), []) }
  }

  #release(id: string, path: string, written: readonly string[]): void {
    const fds = detach(path)
    if (fds.length === 0) return
    const closing = this.#close(id, fds).finally(() => {
      this.#pending.delete(closing)
      for (const dir of written) {
        if (this.#closing.get(dir) === closing) this.#closing.delete(dir)
      }
    })
    this.#pending.add(closing)
    for (const dir of written) this.#closing.set(dir, closing)
  }

  /** Never throws: the container is gone. */
  async #close(id: string, fds: readonly number[]): Promise<void> {
    try {
      await closeAll(fds)
    } catch (err) {
      this.#log.error('failed to let a rootfs go', { id, error: describe(err) })
    }
  }

  /** Waits until all that was released has ended, for a while. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#pending.size === 0) return
    const late = new AbortController()
    const deadline = sleep(closingMs, 'late', { signal: late.signal }).catch(() => {})
    if ((await Promise.race([Promise.all(this.#pending), deadline])) === 'late') {
      this.#log.warn('a rootfs has not ended yet', { left: this.#pending.size })
    }
    late.abort()
  }
}

/** Takes away what is mounted at `rootfs` and below, and waits for its end. @throws why it stays. */
export async function releaseRootfs(rootfs: string): Promise<void> {
  await closeAll(detach(rootfs))
}

function detach(rootfs: string): readonly number[] {
  try {
    return detachRecursive(rootfs)
  } catch (err) {
    throw new Error('failed rootfs umount', { cause: err })
  }
}

/** One after the other: more would take all threads of the pool. */
async function closeAll(fds: readonly number[]): Promise<void> {
  for (const fd of fds) await closeFile(fd)
}

/** The directories that only one overlay may write to. */
const writtenBy = (options: readonly string[]): readonly string[] =>
  options
    .filter((option) => /^(?:upperdir|workdir)=/.test(option))
    .map((option) => option.slice(option.indexOf('=') + 1))
