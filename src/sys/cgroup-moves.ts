import { closeSync, openSync, write } from 'node:fs'
import { join } from 'node:path'

import { cgroupMounts, cgroupPathsIn, cgroupsText } from './cgroup.ts'

/*
 * To move a process into a control group the kernel holds up every fork for a moment. The first to do
 * so after a while waits for a grace period of RCU, some 7 ms with 250 ticks a second; from then on it
 * costs nothing, until nobody has done so for one or two such periods:
 *
 *     idle ── first move: 7 ms ──► ready ── no move for 10 to 20 ms ──► idle
 *
 * An OCI runtime that creates a container, or starts a process in one, is some 7 ms old when it makes
 * such a move, and then waits. Whoever knows that it will be run can have the kernel get ready meanwhile.
 * In the unified hierarchy a runtime may also be born in its group, and waits for nothing.
 *
 * Source: Linux `kernel/cgroup/cgroup.c` (cgroup_threadgroup_rwsem), `kernel/rcu/sync.c`.
 */

/** Has the kernel ready for moves of processes into control groups that are about to be made. */
export class CgroupMoves implements Disposable {
  /** What the kernel said of this process's groups when `#procs` was opened. */
  #groups: string | undefined
  #procs: number | undefined
  #readying: Promise<void> | undefined
  #over = false

  /**
   * Somebody will make such a move within some ms. It never fails: where this process may not write to
   * its group, nothing is gained.
   *
   * @returns what resolves when the kernel is ready, or will not be; there is no need to wait for it.
   */
  expect(): Promise<void> {
    this.#readying ??= this.#ready().finally(() => (this.#readying = undefined))
    return this.#readying
  }

  async #ready(): Promise<void> {
    try {
      if (!this.#over) await stay(this.#ownGroup())
    } catch {
      this.#over = true
    }
    if (this.#over) this.#close()
  }

  /** `cgroup.procs` of the group this process is in now: others may have moved it. */
  #ownGroup(): number {
    const groups = cgroupsText('self')
    if (this.#procs !== undefined && groups === this.#groups) return this.#procs
    this.#close()
    const [path] = cgroupPathsIn(groups, cgroupMounts()).values()
    if (path === undefined) throw new Error('no control group is mounted')
    this.#procs = openSync(join(path, 'cgroup.procs'), 'w')
    this.#groups = groups
    return this.#procs
  }

  #close(): void {
    if (this.#procs !== undefined) closeSync(this.#procs)
    this.#procs = undefined
  }

  [Symbol.dispose](): void {
    this.#over = true
    if (!this.#readying) this.#close()
  }
}

/** Moves this process, which is 0, from where it is to where it is. */
async function stay(procs: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  write(procs, '0', (err) => (err ? reject(err) : resolve()))
  await promise
}
