import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'

import { hasErrno } from '#lib/fs/has-errno.ts'
import { cgroupMode } from '#sys/cgroup.ts'
import { identify } from '#sys/process-end.ts'

import { hasOwnHooks, type Hooks, type RuntimeFiles } from './runtime-files.ts'

/*
 * What crun keeps of a container:
 *
 *   <id>/status       who the init process is, and its control group, the same in every hierarchy
 *   <id>/config.json  the spec, where it says what else has to be undone
 *   <id>/exec.fifo    init holds it open, reads a byte there, and goes on
 *
 * Source: upstream `src/libcrun/status.c`, `container.c` (`libcrun_container_start`, `container_delete_internal`),
 * the same from crun 1.0 to 1.29.
 */

/** The parts of `status` that are looked at. */
interface Status {
  readonly pid?: number
  readonly 'cgroup-path'?: string
  readonly 'systemd-cgroup'?: boolean
}

/** The parts of the spec that are looked at. */
interface Spec {
  readonly hooks?: Hooks
  readonly linux?: {
    readonly namespaces?: readonly { readonly type: string; readonly path?: string }[]
    readonly intelRdt?: object | null
  }
}

const cgroupRoot = '/sys/fs/cgroup'

export const crunFiles: RuntimeFiles = { groupsIn, letGo, waits }

function groupsIn(stateDir: string): readonly string[] | undefined {
  const status: Status = readJson(join(stateDir, 'status'))
  const spec: Spec = readJson(join(stateDir, 'config.json'))
  const group = status['cgroup-path'] ?? ''
  if (!(Number(status.pid) > 0) || !isPlain(group)) return undefined
  const isApart = spec.linux?.namespaces?.some(({ type, path }) => type === 'pid' && !path)
  const hasMore = status['systemd-cgroup'] === true || hasOwnHooks(spec.hooks)
  if (!isApart || hasMore || spec.linux?.intelRdt) return undefined
  return hierarchies().map((dir) => join(dir, group))
}

/** What is mounted in the root need not be looked up among all mounts of the machine. */
const hierarchies = (): readonly string[] =>
  cgroupMode() === 'unified'
    ? [cgroupRoot]
    : readdirSync(cgroupRoot).map((name) => join(cgroupRoot, name))

/** Whether it is below the root, and nothing else. */
const isPlain = (group: string): boolean =>
  group.startsWith('/') && group !== '/' && !group.split('/').includes('..')

function readJson(path: string): object {
  try {
    const value: object | null = JSON.parse(readFileSync(path, 'utf8'))
    return value ?? {}
  } catch {
    // Whatever is wrong with it, the runtime has the words for it.
    return {}
  }
}

function letGo(fifo: string, pid: number): boolean {
  try {
    const fd = openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK)
    try {
      return writeSync(fd, '\0') === 1
    } finally {
      closeSync(fd)
    }
  } catch (err) {
    // Nobody reads there: it has ended, or somebody let it go before.
    return hasErrno(err, 'ENXIO') && identify(pid) !== undefined
  }
}

/** It holds the FIFO open until it is the user's program. To ask the FIFO itself would wake it up. */
function waits(fifo: string, pid: number): boolean {
  const dir = `/proc/${pid}/fd`
  try {
    return readdirSync(dir).some((fd) => readlinkSync(join(dir, fd)) === fifo)
  } catch {
    return true
  }
}
