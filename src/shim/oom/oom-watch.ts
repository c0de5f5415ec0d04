import { closeSync, existsSync, openSync, readFileSync, watch, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { type EventCounter, openEventCounter } from '#sys/event-counter.ts'

/** The control groups of a container: directories by controller, as `cgroupPaths` gives them. */
type Groups = ReadonlyMap<string, string>

/**
 * How soon after the kernel's word to look, how often from then on, and for how long, ms: it comes
 * before the processes are chosen.
 */
const [firstMs, nextMs, lastMs] = [20, 200, 1000] as const

/** The memory of one container, until disposed. */
export interface MemoryWatch extends Disposable {
  /** Looks whether a process was killed since: whose exit is known is counted already. */
  look(): void
}

/**
 * Notices that the kernel killed processes of containers since their memory was used up.
 *
 *     v1   memory.oom_control counts the kills. An eventfd, one for all containers, is registered
 *          with each memory group through cgroup.event_control, and is counted on when the group
 *          runs out of memory, or is removed.
 *     v2   memory.events counts them, and inotify tells of its changes.
 *
 * Source: kernel `Documentation/admin-guide/cgroup-v1/memory.rst`, `cgroup-v2.rst`.
 */
export class OomWatch implements Disposable {
  readonly #watches = new Set<GroupMemory>()
  #timer: NodeJS.Timeout | undefined
  #lastLook = 0
  #counter: EventCounter | undefined

  /**
   * Calls `onKill` when processes in these groups were killed since the last look.
   *
   * @returns nothing when kills are not counted: without a controller of memory, in the root group,
   *   which is everybody's, with v1 before Linux 4.13.
   * @throws {SystemError}
   */
  watch(groups: Groups, onKill: () => void): MemoryWatch | undefined {
    using scope = new DisposableStack()
    const v1 = groups.get('memory')
    const memory =
      v1 === undefined
        ? new GroupMemory(join(groups.get('') ?? '', 'memory.events'), onKill)
        : new GroupMemory(join(v1, 'memory.oom_control'), onKill)
    if (!memory.isCounted || isRoot(v1 ?? groups.get(''))) return undefined
    if (v1 === undefined) scope.use(this.#notify(memory))
    else this.#register(v1)
    this.#watches.add(memory)
    scope.defer(() => this.#watches.delete(memory))
    const held = scope.move()
    return { look: () => memory.look(), [Symbol.dispose]: () => held.dispose() }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#watches.clear()
    this.#counter?.[Symbol.dispose]()
  }

  #register(group: string): void {
    this.#counter ??= openEventCounter(() => this.#lookSoon())
    const control = openSync(join(group, 'memory.oom_control'), 'r')
    try {
      writeFileSync(join(group, 'cgroup.event_control'), `${this.#counter.fd} ${control}`)
    } finally {
      closeSync(control)
    }
  }

  #notify(memory: GroupMemory): Disposable {
    const watcher = watch(memory.path, { persistent: false }, () => this.#lookSoon())
    // The group is gone: so are its processes.
    watcher.on('error', () => watcher.close())
    return { [Symbol.dispose]: () => watcher.close() }
  }

  /** The removal of a group is told like this, too: many are dealt with together. */
  #lookSoon(): void {
    this.#lastLook = performance.now() + lastMs
    this.#timer ??= setTimeout(() => this.#look(), firstMs).unref()
  }

  #look(): void {
    for (const memory of this.#watches) memory.look()
    const again = performance.now() < this.#lastLook
    this.#timer = again ? setTimeout(() => this.#look(), nextMs).unref() : undefined
  }
}

/** How often the kernel has killed in a group. */
class GroupMemory {
  /** The file that counts. */
  readonly path: string
  readonly #onKill: () => void
  #kills: number

  constructor(path: string, onKill: () => void) {
    this.path = path
    this.#onKill = onKill
    this.#kills = killsIn(path) ?? 0
  }

  /** Whether there is such a group, and the kernel counts in it. */
  get isCounted(): boolean {
    return killsIn(this.path) !== undefined
  }

  look(): void {
    const kills = killsIn(this.path) ?? 0
    if (kills <= this.#kills) return
    this.#kills = kills
    this.#onKill()
  }
}

/** `undefined` when nothing is counted, or the group is gone. */
function killsIn(path: string): number | undefined {
  try {
    const [, kills] = /^oom_kill (\d+)$/m.exec(readFileSync(path, 'utf8')) ?? []
    return kills === undefined ? undefined : Number(kills)
  } catch {
    return undefined
  }
}

/** No group is above it. */
const isRoot = (group = '/'): boolean => !existsSync(join(group, '..', 'cgroup.procs'))
