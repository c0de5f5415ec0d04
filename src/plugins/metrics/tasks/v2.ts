import type { IOEntry, MemoryStat, Metrics } from '#gen/cgroups/v2_pb.ts'

import { type Measure, type Numbers, single } from './measure.ts'

/*
 * Measures of cgroups of version 2, with upstream's names. Some of its units are odd, and stay: page
 * faults are `bytes`. Source: upstream `core/metrics/cgroups/v2`.
 */

/** Of `memory.*`, by the end of their names. */
const memoryStats: Readonly<Record<string, Numbers<MemoryStat>>> = {
  usage: 'usage',
  usage_limit: 'usageLimit',
  swap_usage: 'swapUsage',
  swap_limit: 'swapLimit',
  file_mapped: 'fileMapped',
  file_dirty: 'fileDirty',
  file_writeback: 'fileWriteback',
  pgactivate: 'pgactivate',
  pgdeactivate: 'pgdeactivate',
  pgfault: 'pgfault',
  pgmajfault: 'pgmajfault',
  pglazyfree: 'pglazyfree',
  pgrefill: 'pgrefill',
  pglazyfreed: 'pglazyfreed',
  pgscan: 'pgscan',
  pgsteal: 'pgsteal',
  inactive_anon: 'inactiveAnon',
  active_anon: 'activeAnon',
  inactive_file: 'inactiveFile',
  active_file: 'activeFile',
  unevictable: 'unevictable',
  anon: 'anon',
  file: 'file',
  kernel_stack: 'kernelStack',
  slab: 'slab',
  sock: 'sock',
  shmem: 'shmem',
  anon_thp: 'anonThp',
  slab_reclaimable: 'slabReclaimable',
  slab_unreclaimable: 'slabUnreclaimable',
  workingset_refault: 'workingsetRefault',
  workingset_activate: 'workingsetActivate',
  workingset_nodereclaim: 'workingsetNodereclaim',
  thp_fault_alloc: 'thpFaultAlloc',
  thp_collapse_alloc: 'thpCollapseAlloc',
}

const memory: readonly Measure<Metrics>[] = [
  ...Object.entries(memoryStats).map(([name, field]) =>
    single<Metrics>(
      `memory_${name}`,
      'bytes',
      `${name} of the memory controller`,
      (stats) => stats.memory?.[field],
    ),
  ),
  single('memory_oom', 'total', 'How often there was no memory left', (stats) => {
    return stats.memoryEvents?.oom
  }),
]

const cpu: readonly Measure<Metrics>[] = [
  single('cpu_usage_usec', 'microseconds', 'CPU time', (stats) => stats.cpu?.usageUsec),
  single('cpu_user_usec', 'microseconds', 'CPU time in user space', (stats) => stats.cpu?.userUsec),
  single('cpu_system_usec', 'microseconds', 'CPU time in the kernel', (stats) => {
    return stats.cpu?.systemUsec
  }),
  single('cpu_nr_periods', 'total', 'Periods with a quota', (stats) => stats.cpu?.nrPeriods),
  single('cpu_nr_throttled', 'total', 'Periods in which the quota was used up', (stats) => {
    return stats.cpu?.nrThrottled
  }),
  single('cpu_throttled_usec', 'microseconds', 'Time without CPU for want of quota', (stats) => {
    return stats.cpu?.throttledUsec
  }),
]

const entries = (
  name: string,
  unit: string,
  help: string,
  part: Numbers<Pick<IOEntry, 'rbytes' | 'wbytes' | 'rios' | 'wios'>>,
): Measure<Metrics> => ({
  name: `io_${name}_${unit}`,
  help,
  read: ({ io }) =>
    (io?.usage ?? []).map((entry) => {
      return [entry[part], { major: String(entry.major), minor: String(entry.minor) }] as const
    }),
})

const io: readonly Measure<Metrics>[] = [
  entries('rbytes', 'bytes', 'Bytes read, by device', 'rbytes'),
  entries('wbytes', 'bytes', 'Bytes written, by device', 'wbytes'),
  entries('rios', 'total', 'Reads, by device', 'rios'),
  entries('wios', 'total', 'Writes, by device', 'wios'),
]

const pids: readonly Measure<Metrics>[] = [
  single('pids', 'limit', 'How many processes there may be', (stats) => stats.pids?.limit),
  single('pids', 'current', 'How many processes there are', (stats) => stats.pids?.current),
]

export const v2Measures: readonly Measure<Metrics>[] = [...pids, ...cpu, ...memory, ...io]
