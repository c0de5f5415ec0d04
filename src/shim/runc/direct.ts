import { constants, existsSync, openSync, readFileSync, readSync, rmSync } from 'node:fs'
import { rmdir } from 'node:fs/promises'
import { Socket } from 'node:net'
import { join } from 'node:path'

import { raceAbort } from '#lib/async/mutex.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'
import { identify, lives, type ProcessIdentity } from '#sys/process-end.ts'

/*
 * What runc keeps of a container below its root, as far as a host does by itself what it would run runc for:
 *
 *   <id>/state.json   who the init process is, its control groups, and what else has to be undone
 *   <id>/exec.fifo    init says a byte there as soon as somebody reads, and goes on as the user's program;
 *                     from creation until somebody has read it, who then removes it
 *
 * A process of runc takes 10 ms for either of these steps, and much of a processor. Containers that need more
 * than what is done here are left to runc: those with hooks for these steps, in slices of systemd, with a group
 * of Intel RDT, in the pid namespace of others. So are those of other OCI runtimes, which keep other files.
 *
 * Source: upstream `libcontainer/container_linux.go` (`exec`, `State`), `state_linux.go` (`destroy`), the same
 * from runc 1.0 to 1.5.
 */

/** The parts of `state.json` that are looked at. Since runc 1.4 what is empty or false is left out. */
interface State {
  readonly init_process_pid?: number
  readonly rootless?: boolean
  readonly cgroup_paths?: Readonly<Record<string, string>>
  readonly intel_rdt_path?: string
  readonly intel_rdt_mon_path?: string
  readonly config?: {
    readonly Hooks?: Readonly<Record<string, readonly unknown[] | null>> | null
    readonly namespaces?: readonly { readonly type: string; readonly path?: string }[]
    readonly cgroups?: { readonly Systemd?: boolean }
  }
}

/** How often an init process is looked at that has not yet gone on, ms. */
const lookMs = 100

/** Whether `binary` is runc itself, by its name: of what others do beside, nothing is known. */
const isRunc = (binary: string): boolean => /^(?:.*\/)?runc$/.test(binary)

/** The control groups of a container that needs nothing else undone; `undefined` for any other. */
function plainGroups(stateDir: string): readonly string[] | undefined {
  const state = readState(stateDir)
  if (state === undefined || !(Number(state.init_process_pid) > 0)) return undefined
  const { rootless, cgroup_paths: paths, config } = state
  const hooks = config?.Hooks ?? {}
  const hasMore =
    rootless === true ||
    [state.intel_rdt_path, state.intel_rdt_mon_path].some(Boolean) ||
    [hooks['poststart'], hooks['poststop']].some((each) => (each?.length ?? 0) > 0) ||
    config?.cgroups?.Systemd === true
  const isApart = config?.namespaces?.some(({ type, path }) => type === 'NEWPID' && !path)
  if (hasMore || !isApart || !paths) return undefined
  const groups = [...new Set(Object.values(paths))]
  return groups.every((path) => path.startsWith('/sys/fs/cgroup/')) ? groups : undefined
}

function readState(stateDir: string): State | undefined {
  try {
    const state: State = JSON.parse(readFileSync(join(stateDir, 'state.json'), 'utf8'))
    return state
  } catch {
    // Whatever is wrong with it, the runtime has the words for it.
    return undefined
  }
}

/**
 * Has the user's program run in a created container.
 *
 * @param stateDir - Where `binary` keeps its state of the container.
 * @param pid - The init process.
 * @returns whether it does; if not, nothing has changed, and the runtime is to be asked.
 */
export async function startDirectly(
  binary: string,
  stateDir: string,
  pid: number,
  signal: AbortSignal,
): Promise<boolean> {
  if (!isRunc(binary) || plainGroups(stateDir) === undefined) return false
  const fifo = join(stateDir, 'exec.fifo')
  const fd = openForReading(fifo)
  if (fd === undefined) return false
  const gate = new Socket({ fd, readable: true, writable: false })
  try {
    const passed = Promise.withResolvers<boolean>()
    gate.once('data', () => passed.resolve(true))
    gate.once('error', () => passed.resolve(false))
    // A program may have ended before its byte is seen here.
    using _ended = setInterval(() => identify(pid) ?? passed.resolve(hasByte(fd)), lookMs)
    const isPassed = await raceAbort(passed.promise, signal).catch(() => false)
    if (isPassed) rmSync(fifo, { force: true })
    return isPassed
  } finally {
    gate.destroy()
  }
}

/**
 * Ends a start in whose middle a host was killed: a program that runs, and whose FIFO says it does not.
 *
 * @param init - Nothing for one that had ended.
 */
export function finishStart(
  binary: string,
  stateDir: string,
  init: ProcessIdentity | undefined,
): void {
  const fifo = join(stateDir, 'exec.fifo')
  if (!init || !isRunc(binary) || !existsSync(fifo) || !lives(init)) return
  const [name = '', command, ...more] = argumentsOf(init.pid)
  const waits = isRunc(name) && command === 'init' && more.length === 0
  if (!waits && name !== '') rmSync(fifo, { force: true })
}

function argumentsOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1)
  } catch {
    return []
  }
}

/** Without waiting for a writer. */
function openForReading(fifo: string): number | undefined {
  try {
    return openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch {
    return undefined
  }
}

function hasByte(fd: number): boolean {
  try {
    return readSync(fd, Buffer.alloc(1)) === 1
  } catch {
    return false
  }
}

/**
 * Removes a container whose init process has ended.
 *
 * @param stateDir - Where `binary` keeps its state of the container.
 * @returns whether it is gone; if not, the runtime is to be asked.
 */
export async function deleteDirectly(binary: string, stateDir: string): Promise<boolean> {
  const groups = isRunc(binary) ? plainGroups(stateDir) : undefined
  if (groups === undefined) return false
  const removed = await Promise.all(groups.map(async (path) => await removeGroup(path)))
  if (removed.includes(false)) return false
  rmSync(stateDir, { recursive: true, force: true })
  return true
}

/** Not one that has groups below it, or a process: those need more patience than there is here. */
async function removeGroup(path: string): Promise<boolean> {
  try {
    await rmdir(path)
    return true
  } catch (err) {
    return hasErrno(err, 'ENOENT')
  }
}
