import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { cgroupMounts } from '#sys/cgroup.ts'
import { isErrno } from '#sys/errno.ts'

import { killTree } from './kill-tree.ts'

/*
 * What stays when a host is killed while the OCI runtime makes a container: the runtime, which goes
 * on, and when that is killed, control groups that it has written down nowhere.
 */

/** How often, and at what distance in ms, something is looked at again. */
const [tries, pauseMs] = [20, 50] as const

/** Waits for the runtimes that work on bundles, but not for one that hangs. */
export async function awaitRuntimes(bundles: readonly string[]): Promise<void> {
  for (let n = 0; n < tries; n++) {
    if (!runtimesOf(...bundles).length) return
    await sleep(pauseMs)
  }
}

/** Kills the runtimes that still work on a bundle, and waits until they are gone. */
export async function endRuntimes(bundle: string): Promise<void> {
  for (let n = 0; n < tries; n++) {
    const pids = runtimesOf(bundle)
    if (pids.length === 0) return
    for (const pid of pids) killTree(pid)
    await sleep(pauseMs)
  }
}

/**
 * Removes the control groups that the spec of a bundle names. Groups with processes are left alone:
 * they may be those of somebody else, who was given the same path.
 */
export async function removeEmptyCgroups(bundle: string): Promise<void> {
  for (const path of cgroupsOf(bundle)) await removeEmpty(path)
}

/** The control groups that the spec of a bundle names, in every hierarchy. */
export function cgroupsOf(bundle: string): string[] {
  const path = cgroupPathOf(bundle)
  if (path === undefined) return []
  return cgroupMounts()
    .map(({ mountPoint }) => join(mountPoint, path))
    .filter((each) => existsSync(each))
}

/** The runtime is told where to log for each bundle, and so are the processes it starts. */
function runtimesOf(...bundles: readonly string[]): number[] {
  const logs = new Set(bundles.map((bundle) => join(bundle, 'log.json')))
  const works = (pid: string): boolean => {
    const [, log = ''] = /--log\0([^\0]*)\0/.exec(commandLine(pid)) ?? []
    return logs.has(log)
  }
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && works(name))
    .map(Number)
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    // It has ended meanwhile.
    return ''
  }
}

/** The path, unless it is the name of a systemd unit, or may lead elsewhere. */
function cgroupPathOf(bundle: string): string | undefined {
  const spec: { readonly linux?: { readonly cgroupsPath?: unknown } } = JSON.parse(
    readFileSync(join(bundle, 'config.json'), 'utf8'),
  )
  const path = spec.linux?.cgroupsPath
  if (typeof path !== 'string' || !/^\/[^/]/.test(path)) return undefined
  return path.split('/').includes('..') ? undefined : path
}

async function removeEmpty(path: string): Promise<void> {
  for (let n = 0; n < tries && existsSync(path); n++) {
    try {
      rmdirSync(path)
    } catch (err) {
      if (!isErrno(err, 'EBUSY', 'ENOENT')) throw err
      if (processesIn(path) > 0) return
      // The last process has just ended: the kernel needs a moment.
      await sleep(pauseMs)
    }
  }
}

function processesIn(path: string): number {
  try {
    return readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).length
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) throw err
    return 0
  }
}
