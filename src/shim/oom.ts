import { type FSWatcher, readFileSync, watch } from 'node:fs'
import { join, relative } from 'node:path'

import { cgroupMounts, cgroupPaths } from '#sys/cgroup.ts'

/** How often a group of v1, which announces nothing that Node could wait for, is looked at, ms. */
const pollMs = 1_000

/** They do not change while a host runs. */
let mounts: ReturnType<typeof cgroupMounts> | undefined

/**
 * Notices that the kernel has killed processes of a container for want of memory, by the counter
 * `oom_kill` of its control group: in `memory.events` of v2, which says when it changes, and in
 * `memory.oom_control` of v1 since Linux 4.13.
 *
 * Source: upstream `pkg/oom`.
 */
export class OomWatch implements Disposable {
  readonly #file: string
  readonly #onOom: () => void
  #known: number
  #timer: NodeJS.Timeout | undefined
  #watcher: FSWatcher | undefined

  private constructor(file: string, onOom: () => void) {
    this.#file = file
    this.#onOom = onOom
    this.#known = killsIn(file) ?? 0
  }

  /** Watches the group of `pid`, if it has one of its own that counts. */
  static of(pid: number, onOom: () => void): OomWatch | undefined {
    const file = counterOf(pid)
    if (file === undefined || killsIn(file) === undefined) return undefined
    const oom = new OomWatch(file, onOom)
    oom.#begin()
    return oom
  }

  /** Looks now: whoever is about to tell of an exit wants this told before. */
  look(): void {
    const kills = killsIn(this.#file)
    // The group is gone.
    if (kills === undefined) return this[Symbol.dispose]()
    if (kills <= this.#known) return
    this.#known = kills
    this.#onOom()
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#watcher?.close()
  }

  #begin(): void {
    if (this.#file.endsWith('memory.events')) {
      this.#watcher = watch(this.#file, { persistent: false }, () => this.look())
      // It goes with the group.
      this.#watcher.on('error', () => this[Symbol.dispose]())
    } else this.#timer = setInterval(() => this.look(), pollMs).unref()
  }
}

function counterOf(pid: number): string | undefined {
  mounts ??= cgroupMounts()
  const paths = pathsOf(pid, mounts)
  const v1 = paths?.get('memory')
  const dir = v1 ?? paths?.get('')
  // In the root of a hierarchy everybody else is counted too.
  if (dir === undefined || mounts.some(({ mountPoint }) => relative(mountPoint, dir) === '')) {
    return undefined
  }
  return join(dir, v1 === undefined ? 'memory.events' : 'memory.oom_control')
}

function pathsOf(
  pid: number,
  among: ReturnType<typeof cgroupMounts>,
): ReadonlyMap<string, string> | undefined {
  try {
    return cgroupPaths(pid, among)
  } catch {
    // It has ended already.
    return undefined
  }
}

/** Undefined when there is no such group, or nothing is counted in it. */
function killsIn(file: string): number | undefined {
  try {
    const [, kills] = /^oom_kill (\d+)$/m.exec(readFileSync(file, 'utf8')) ?? []
    return kills === undefined ? undefined : Number(kills)
  } catch {
    return undefined
  }
}
