import { type MessageInitShape, create, toBinary } from '@bufbuild/protobuf'

import {
  type BlkIOEntrySchema,
  MemoryStatSchema,
  type Metrics,
  MetricsSchema,
} from '#gen/cgroups/v1_pb.ts'

import {
  hugePageSizes,
  pick,
  readNumber,
  readNumbers,
  readRdma,
  readText,
  toNumber,
} from './files.ts'

type Paths = ReadonlyMap<string, string>
type Init = Exclude<MessageInitShape<typeof MetricsSchema>, Metrics>
type BlkIOEntries = MessageInitShape<typeof BlkIOEntrySchema>[]

/** cpuacct.stat counts in these; USER_HZ is 100 on every Linux that matters here. */
const nsPerTick = 10_000_000n

/** Fields whose names are not those of the file `memory.stat`. */
const memoryNames = {
  pg_pg_in: 'pgpgin',
  pg_pg_out: 'pgpgout',
  pg_fault: 'pgfault',
  pg_maj_fault: 'pgmajfault',
  total_pg_pg_in: 'total_pgpgin',
  total_pg_pg_out: 'total_pgpgout',
  total_pg_fault: 'total_pgfault',
  total_pg_maj_fault: 'total_pgmajfault',
  hierarchical_swap_limit: 'hierarchical_memsw_limit',
}

/** `io.containerd.cgroups.v1.Metrics` of groups by controller. Source: containerd/cgroups `cgroup1`. */
export function readMetrics(paths: Paths): Uint8Array {
  const init: Init = {
    hugetlb: hugetlb(paths.get('hugetlb')),
    ...pids(paths.get('pids')),
    cpu: cpu(paths),
    ...memory(paths.get('memory')),
    ...blkio(paths.get('blkio')),
    ...rdma(paths.get('rdma')),
  }
  return toBinary(MetricsSchema, create(MetricsSchema, init))
}

function hugetlb(dir: string | undefined): NonNullable<Init['hugetlb']> {
  return hugePageSizes(dir).map((pagesize) => {
    const value = (name: string): bigint => readNumber(dir, `hugetlb.${pagesize}.${name}`)
    const [usage, max, failcnt] = ['usage_in_bytes', 'max_usage_in_bytes', 'failcnt'].map(value)
    return { pagesize, usage: usage ?? 0n, max: max ?? 0n, failcnt: failcnt ?? 0n }
  })
}

function pids(dir: string | undefined): Pick<Init, 'pids'> {
  if (dir === undefined) return {}
  return {
    pids: { current: readNumber(dir, 'pids.current'), limit: readNumber(dir, 'pids.max') },
  }
}

function cpu(paths: Paths): NonNullable<Init['cpu']> {
  const cpuacct = paths.get('cpuacct')
  const ticks = readNumbers(cpuacct, 'cpuacct.stat')
  const throttling = readNumbers(paths.get('cpu'), 'cpu.stat')
  const perCpu = readText(cpuacct, 'cpuacct.usage_percpu').split(' ').filter(Boolean)
  return {
    usage: {
      total: readNumber(cpuacct, 'cpuacct.usage'),
      kernel: (ticks.get('system') ?? 0n) * nsPerTick,
      user: (ticks.get('user') ?? 0n) * nsPerTick,
      perCpu: perCpu.map((value) => toNumber(value)),
    },
    throttling: {
      periods: throttling.get('nr_periods') ?? 0n,
      throttledPeriods: throttling.get('nr_throttled') ?? 0n,
      throttledTime: throttling.get('throttled_time') ?? 0n,
    },
  }
}

function memory(dir: string | undefined): Pick<Init, 'memory' | 'memoryOomControl'> {
  if (dir === undefined) return {}
  const entry = (prefix: string): Record<'usage' | 'max' | 'failcnt' | 'limit', bigint> => ({
    usage: readNumber(dir, `${prefix}.usage_in_bytes`),
    max: readNumber(dir, `${prefix}.max_usage_in_bytes`),
    failcnt: readNumber(dir, `${prefix}.failcnt`),
    limit: readNumber(dir, `${prefix}.limit_in_bytes`),
  })
  const oom = readNumbers(dir, 'memory.oom_control')
  return {
    memory: {
      ...pick(MemoryStatSchema, readNumbers(dir, 'memory.stat'), memoryNames),
      usage: entry('memory'),
      swap: entry('memory.memsw'),
      kernel: entry('memory.kmem'),
      kernelTcp: entry('memory.kmem.tcp'),
    },
    memoryOomControl: {
      oomKillDisable: oom.get('oom_kill_disable') ?? 0n,
      underOom: oom.get('under_oom') ?? 0n,
      oomKill: oom.get('oom_kill') ?? 0n,
    },
  }
}

/** The CFQ scheduler counts more; where it does not run, only the throttling layer counts. */
function blkio(dir: string | undefined): Pick<Init, 'blkio'> {
  if (dir === undefined) return {}
  const cfq = {
    sectorsRecursive: blkioEntries(dir, 'sectors_recursive'),
    ioServiceBytesRecursive: blkioEntries(dir, 'io_service_bytes_recursive'),
    ioServicedRecursive: blkioEntries(dir, 'io_serviced_recursive'),
    ioQueuedRecursive: blkioEntries(dir, 'io_queued_recursive'),
    ioServiceTimeRecursive: blkioEntries(dir, 'io_service_time_recursive'),
    ioWaitTimeRecursive: blkioEntries(dir, 'io_wait_time_recursive'),
    ioMergedRecursive: blkioEntries(dir, 'io_merged_recursive'),
    ioTimeRecursive: blkioEntries(dir, 'time_recursive'),
  }
  if (Object.values(cfq).some((entries) => entries.length > 0)) return { blkio: cfq }
  return {
    blkio: {
      ioServicedRecursive: blkioEntries(dir, 'throttle.io_serviced'),
      ioServiceBytesRecursive: blkioEntries(dir, 'throttle.io_service_bytes'),
    },
  }
}

/** Lines of `8:0 Read 4096` or `8:0 4096`; the line with the total has no device. */
function blkioEntries(dir: string, name: string): BlkIOEntries {
  const entries: BlkIOEntries = []
  for (const line of readText(dir, `blkio.${name}`).split('\n')) {
    const [, major = '', minor = '', op = '', value = ''] =
      /^(\d+):(\d+) (?:([A-Za-z]+) )?(\d+)$/.exec(line) ?? []
    if (value === '') continue
    entries.push({
      op,
      device: deviceName(`${major}:${minor}`),
      major: BigInt(major),
      minor: BigInt(minor),
      value: BigInt(value),
    })
  }
  return entries
}

/** `/dev/sda` for `8:0`. */
function deviceName(number: string): string {
  const name = /^DEVNAME=(.+)$/m.exec(readText('/sys/dev/block', `${number}/uevent`))?.[1]
  return name === undefined ? '' : `/dev/${name}`
}

function rdma(dir: string | undefined): Pick<Init, 'rdma'> {
  if (dir === undefined) return {}
  return { rdma: { current: readRdma(dir, 'rdma.current'), limit: readRdma(dir, 'rdma.max') } }
}
