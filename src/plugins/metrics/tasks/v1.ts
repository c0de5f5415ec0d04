import type {
  BlkIOEntry,
  BlkIOStat,
  HugetlbStat,
  MemoryEntry,
  MemoryStat,
  Metrics,
} from '#gen/cgroups/v1_pb.ts'

import { type Measure, type Numbers, single } from './measure.ts'

/*
 * Measures of cgroups of version 1, with upstream's names. Some of its units are odd, and stay: page
 * faults are `bytes`. Source: upstream `core/metrics/cgroups/v1`.
 */

/** Of `memory.stat`, by the end of their names. */
const memoryStats: Readonly<Record<string, Numbers<MemoryStat>>> = {
  cache: 'cache',
  rss: 'rss',
  rss_huge: 'rssHuge',
  mapped_file: 'mappedFile',
  dirty: 'dirty',
  writeback: 'writeback',
  pgpgin: 'pgPgIn',
  pgpgout: 'pgPgOut',
  pgfault: 'pgFault',
  pgmajfault: 'pgMajFault',
  inactive_anon: 'inactiveAnon',
  active_anon: 'activeAnon',
  inactive_file: 'inactiveFile',
  active_file: 'activeFile',
  unevictable: 'unevictable',
  hierarchical_memory_limit: 'hierarchicalMemoryLimit',
  hierarchical_memsw_limit: 'hierarchicalSwapLimit',
  total_cache: 'totalCache',
  total_rss: 'totalRss',
  total_rss_huge: 'totalRssHuge',
  total_mapped_file: 'totalMappedFile',
  total_dirty: 'totalDirty',
  total_writeback: 'totalWriteback',
  total_pgpgin: 'totalPgPgIn',
  total_pgpgout: 'totalPgPgOut',
  total_pgfault: 'totalPgFault',
  total_pgmajfault: 'totalPgMajFault',
  total_inactive_anon: 'totalInactiveAnon',
  total_active_anon: 'totalActiveAnon',
  total_inactive_file: 'totalInactiveFile',
  total_active_file: 'totalActiveFile',
  total_unevictable: 'totalUnevictable',
}

/** What is limited on its own, by name and field. */
const limited = {
  usage: 'usage',
  swap: 'swap',
  kernel: 'kernel',
  kerneltcp: 'kernelTcp',
} as const satisfies Readonly<Record<string, keyof MemoryStat>>

const limits: readonly (readonly [Numbers<MemoryEntry>, unit: string])[] = [
  ['failcnt', 'total'],
  ['limit', 'bytes'],
  ['max', 'bytes'],
  ['usage', 'bytes'],
]

const memory: readonly Measure<Metrics>[] = [
  ...Object.entries(memoryStats).map(([name, field]) =>
    single<Metrics>(
      `memory_${name}`,
      'bytes',
      `${name} of memory.stat`,
      (stats) => stats.memory?.[field],
    ),
  ),
  ...Object.entries(limited).flatMap(([name, field]) =>
    limits.map(([part, unit]) =>
      single<Metrics>(
        `memory_${name}_${part}`,
        unit,
        `${part} of the limit on ${name === 'usage' ? 'memory' : name}`,
        (stats) => stats.memory?.[field]?.[part],
      ),
    ),
  ),
  {
    name: 'memory_oom_total',
    help: 'How often processes were killed for want of memory',
    type: 'counter',
    read: ({ memoryOomControl }) => (memoryOomControl ? [[memoryOomControl.oomKill]] : []),
  },
]

const cpu: readonly Measure<Metrics>[] = [
  single('cpu_total', 'nanoseconds', 'CPU time', ({ cpu: of }) => of?.usage?.total),
  single('cpu_kernel', 'nanoseconds', 'CPU time in the kernel', ({ cpu: of }) => of?.usage?.kernel),
  single('cpu_user', 'nanoseconds', 'CPU time in user space', ({ cpu: of }) => of?.usage?.user),
  {
    name: 'per_cpu_nanoseconds',
    help: 'CPU time by CPU',
    read: ({ cpu: of }) =>
      (of?.usage?.perCpu ?? []).map((value, i) => [value, { cpu: String(i) }] as const),
  },
  single('cpu_throttle_periods', 'total', 'Periods with a quota', ({ cpu: of }) => {
    return of?.throttling?.periods
  }),
  single('cpu_throttled_periods', 'total', 'Periods in which the quota was used up', (stats) => {
    return stats.cpu?.throttling?.throttledPeriods
  }),
  single('cpu_throttled_time', 'nanoseconds', 'Time without CPU for want of quota', (stats) => {
    return stats.cpu?.throttling?.throttledTime
  }),
]

const pages = (
  name: string,
  unit: string,
  help: string,
  part: Numbers<HugetlbStat>,
): Measure<Metrics> => ({
  name: `hugetlb_${name}_${unit}`,
  help,
  read: ({ hugetlb }) => hugetlb.map((of) => [of[part], { page: of.pagesize }] as const),
})

const hugetlb: readonly Measure<Metrics>[] = [
  pages('usage', 'bytes', 'Huge pages in use', 'usage'),
  pages('failcnt', 'total', 'How often the limit on huge pages was hit', 'failcnt'),
  pages('max', 'bytes', 'The most huge pages in use', 'max'),
]

type BlkIOField = {
  [K in keyof BlkIOStat]-?: BlkIOStat[K] extends BlkIOEntry[] ? K : never
}[keyof BlkIOStat]

const io = (name: string, unit: string, field: BlkIOField): Measure<Metrics> => ({
  name: `blkio_${name}_recursive_${unit}`,
  help: `${name} of blkio, by device and operation`,
  read: ({ blkio }) =>
    (blkio?.[field] ?? []).map(({ op, device, major, minor, value }) => {
      return [value, { op, device, major: String(major), minor: String(minor) }] as const
    }),
})

const blkio: readonly Measure<Metrics>[] = [
  io('io_merged', 'total', 'ioMergedRecursive'),
  io('io_queued', 'total', 'ioQueuedRecursive'),
  io('io_service_bytes', 'bytes', 'ioServiceBytesRecursive'),
  io('io_service_time', 'total', 'ioServiceTimeRecursive'),
  io('io_serviced', 'total', 'ioServicedRecursive'),
  io('io_time', 'total', 'ioTimeRecursive'),
  io('sectors', 'total', 'sectorsRecursive'),
]

const pids: readonly Measure<Metrics>[] = [
  single('pids', 'limit', 'How many processes there may be', (stats) => stats.pids?.limit),
  single('pids', 'current', 'How many processes there are', (stats) => stats.pids?.current),
]

export const v1Measures: readonly Measure<Metrics>[] = [
  ...pids,
  ...cpu,
  ...memory,
  ...hugetlb,
  ...blkio,
]
