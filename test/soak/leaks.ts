import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { mountInfo } from '#sys/mount-info.ts'
import { handlesOf } from '#testing/handles.ts'

import { cgroupsOf, processesIn } from './cgroups.ts'
import type { World } from './world.ts'

/*
 * What must not stay behind. All of it is looked up in the system, not asked of the daemon:
 *
 *     mounts        below the daemon's directories
 *     bundles       state and work directories of tasks
 *     runc          state of the OCI runtime
 *     cgroups       of the namespace
 *     processes     in those cgroups, and runtimes that work on a bundle
 *     FIFOs         of clients that were not killed
 *     netns         that the daemon or a host has open
 */

const plugin = 'io.containerd.runtime.v2.task'
const settleMs = 60_000

/** Fails unless nothing is left of any container, as soon as what is under way has ended. */
export async function assertNothingLeft(world: World): Promise<void> {
  const deadline = Date.now() + settleMs
  for (;;) {
    const left = leftovers(world)
    if (left.length === 0) return
    if (Date.now() > deadline) throw new Error(`left behind:\n  ${left.join('\n  ')}`)
    await sleep(50)
  }
}

/** What containers have left, one line each. */
export function leftovers(world: World): string[] {
  const { daemon, namespace, fifos } = world
  const watched = {
    bundle: join(daemon.state, plugin, namespace),
    work: join(daemon.root, plugin, namespace),
    runc: join(daemon.state, 'runc', namespace),
    fifo: fifos.client,
  }
  return [
    ...mountsBelow(daemon.dir).map((path) => `mount ${path}`),
    ...Object.entries(watched).flatMap(([what, dir]) =>
      list(dir).map((name) => `${what} ${join(dir, name)}`),
    ),
    ...cgroupsOf(namespace).map((path) => `cgroup ${path} ${processesIn(path)}`),
    ...commands()
      .filter(({ line }) => line.includes(daemon.dir) && /(^|\/)(runc|crun)\0/.test(line))
      .map(({ pid, line }) => `process ${pid} ${line.replaceAll('\0', ' ')}`),
    ...served(world).flatMap((pid) =>
      networksOpenIn(pid).map((network) => `netns ${network} open in ${pid}`),
    ),
  ]
}

/** The daemon and its hosts. */
export const served = (world: World): number[] => [
  world.daemon.process.pid ?? 0,
  ...shimHosts(world),
]

/** How many network namespaces the machine has, those that no process is in included. */
export function networkCount(): number {
  const slabs = readFileSync('/proc/slabinfo', 'utf8')
  return Number(/^net_namespace\s+(\d+)/m.exec(slabs)?.[1])
}

/** Network namespaces that a process holds by a descriptor: each lives for as long. */
const networksOpenIn = (pid: number): string[] =>
  handlesOf(pid).filter((target) => target.startsWith('net:['))

/** The hosts of shims that work for the daemon. */
export const shimHosts = (world: World): number[] =>
  commands()
    .filter(({ line }) => line.includes('containerd-shim-') && line.includes(world.daemon.address))
    .map(({ pid }) => pid)

/** Pids of processes in containers of the namespace. */
export function containerPids(world: World): number[] {
  const pids = cgroupsOf(world.namespace).flatMap((path) => processesIn(path).split(' '))
  return [...new Set(pids.filter(Boolean))].map(Number)
}

/** Handles and memory of a process. */
export interface Footprint {
  readonly pid: number
  readonly handles: number
  readonly megabytes: number
  readonly zombies: number
}

/** What a process holds now; nothing when it is gone. */
export function footprint(pid: number): Footprint | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const megabytes = Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024)
    const handles = readdirSync(`/proc/${pid}/fd`).length
    return { pid, handles, megabytes, zombies: zombiesOf(pid) }
  } catch {
    return undefined
  }
}

function zombiesOf(parent: number): number {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8')
  const states = children.split(' ').filter(Boolean).map(stateOf)
  return states.filter((state) => state === 'Z').length
}

/** Whether there is no such process any more, but for what its parent has to look at. */
export const hasEnded = (pid: number): boolean => ['', 'Z'].includes(stateOf(`${pid}`))

function stateOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0] ?? ''
  } catch {
    return ''
  }
}

/** Where something is mounted below `dir`. */
export const mountsBelow = (dir: string): string[] =>
  mountInfo()
    .map(({ mountPoint }) => mountPoint)
    .filter((path) => path.startsWith(`${dir}/`))

/** Every process with its arguments, each ended by a NUL. */
function commands(): { pid: number; line: string }[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return pids.map((pid) => ({ pid: Number(pid), line: commandLine(pid) }))
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}
