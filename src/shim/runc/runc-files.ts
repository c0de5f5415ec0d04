import { constants, openSync, readFileSync, readSync } from 'node:fs'
import { Socket } from 'node:net'
import { basename, join } from 'node:path'

import { raceAbort } from '#lib/async/mutex.ts'
import { identify } from '#sys/process-end.ts'

import { hasOwnHooks, type Hooks, type RuntimeFiles } from './runtime-files.ts'

/*
 * What runc keeps of a container:
 *
 *   <id>/state.json   who the init process is, its control groups, and what else has to be undone
 *   <id>/exec.fifo    init says a byte there as soon as somebody reads, and goes on
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
    readonly Hooks?: Hooks
    readonly namespaces?: readonly { readonly type: string; readonly path?: string }[]
    readonly cgroups?: { readonly Systemd?: boolean }
  }
}

/** How often an init process is looked at that has not yet gone on, ms. */
const lookMs = 100

export const runcFiles: RuntimeFiles = { groupsIn, letGo, waits }

function groupsIn(stateDir: string): readonly string[] | undefined {
  const state = readState(stateDir)
  if (state === undefined || !(Number(state.init_process_pid) > 0)) return undefined
  const { rootless, cgroup_paths: paths, config } = state
  const hasMore =
    rootless === true ||
    [state.intel_rdt_path, state.intel_rdt_mon_path].some(Boolean) ||
    hasOwnHooks(config?.Hooks) ||
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

async function letGo(fifo: string, pid: number, signal: AbortSignal): Promise<boolean> {
  const fd = openForReading(fifo)
  if (fd === undefined) return false
  const gate = new Socket({ fd, readable: true, writable: false })
  try {
    const passed = Promise.withResolvers<boolean>()
    gate.once('data', () => passed.resolve(true))
    gate.once('error', () => passed.resolve(false))
    // A program may have ended before its byte is seen here.
    using _ended = setInterval(() => identify(pid) ?? passed.resolve(hasByte(fd)), lookMs)
    return await raceAbort(passed.promise, signal).catch(() => false)
  } finally {
    gate.destroy()
  }
}

/** It is called `runc init` until it is the user's program. */
function waits(_fifo: string, pid: number): boolean {
  const [name = '', command, ...more] = argumentsOf(pid)
  return name === '' || (basename(name) === 'runc' && command === 'init' && more.length === 0)
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
