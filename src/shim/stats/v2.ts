import { type MessageInitShape, create, toBinary } from '@bufbuild/protobuf'

import {
  CPUStatSchema,
  type IOEntrySchema,
  MemoryEventsSchema,
  MemoryStatSchema,
  type Metrics,
  MetricsSchema,
} from '#gen/cgroups/v2_pb.ts'

import {
  hugePageSizes,
  pick,
  readNumber,
  readNumbers,
  readPairs,
  readRdma,
  readText,
  toNumber,
  unlimited,
} from './files.ts'

type Init = Exclude<MessageInitShape<typeof MetricsSchema>, Metrics>
type IOEntries = MessageInitShape<typeof IOEntrySchema>[]
interface Pressure {
  avg10: number
  avg60: number
  avg300: number
  total: bigint
}

/** `io.containerd.cgroups.v2.Metrics` of the group at `dir`. Source: containerd/cgroups `cgroup2`. */
export function readMetrics(dir: string): Uint8Array {
  const events = readNumbers(dir, 'memory.events')
  const init: Init = {
    pids: {
      current: readNumber(dir, 'pids.current'),
      limit: readNumber(dir, 'pids.max', unlimited),
    },
    cpu: { ...pick(CPUStatSchema, readNumbers(dir, 'cpu.stat')), ...pressure(dir, 'cpu') },
    memory: memory(dir),
    rdma: { current: readRdma(dir, 'rdma.current'), limit: readRdma(dir, 'rdma.max') },
    io: { usage: io(dir), ...pressure(dir, 'io') },
    hugetlb: hugetlb(dir),
    ...(events.has('oom') ? { memoryEvents: pick(MemoryEventsSchema, events) } : {}),
  }
  return toBinary(MetricsSchema, create(MetricsSchema, init))
}

function memory(dir: string): NonNullable<Init['memory']> {
  return {
    ...pick(MemoryStatSchema, readNumbers(dir, 'memory.stat')),
    usage: readNumber(dir, 'memory.current'),
    usageLimit: readNumber(dir, 'memory.max', unlimited),
    maxUsage: readNumber(dir, 'memory.peak'),
    swapUsage: readNumber(dir, 'memory.swap.current'),
    swapLimit: readNumber(dir, 'memory.swap.max', unlimited),
    swapMaxUsage: readNumber(dir, 'memory.swap.peak'),
    ...pressure(dir, 'memory'),
  }
}

/** Lines of `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`. */
function pressure(dir: string, what: string): { psi?: { some?: Pressure; full?: Pressure } } {
  const psi: { some?: Pressure; full?: Pressure } = {}
  for (const line of readText(dir, `${what}.pressure`).split('\n')) {
    const [kind = '', ...pairs] = line.split(' ')
    if (kind !== 'some' && kind !== 'full') continue
    const values = readPairs(pairs)
    const average = (name: string): number => Number(values.get(name) ?? 0)
    psi[kind] = {
      avg10: average('avg10'),
      avg60: average('avg60'),
      avg300: average('avg300'),
      total: toNumber(values.get('total') ?? ''),
    }
  }
  return psi.some || psi.full ? { psi } : {}
}

/** Lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`. */
function io(dir: string): IOEntries {
  const entries: IOEntries = []
  for (const line of readText(dir, 'io.stat').split('\n')) {
    const [device = '', ...pairs] = line.split(' ')
    const [, major, minor] = /^(\d+):(\d+)$/.exec(device) ?? []
    if (major === undefined || minor === undefined) continue
    const values = readPairs(pairs)
    const count = (name: string): bigint => toNumber(values.get(name) ?? '')
    entries.push({
      major: BigInt(major),
      minor: BigInt(minor),
      rbytes: count('rbytes'),
      wbytes: count('wbytes'),
      rios: count('rios'),
      wios: count('wios'),
    })
  }
  return entries
}

function hugetlb(dir: string): NonNullable<Init['hugetlb']> {
  return hugePageSizes(dir).map((pagesize) => ({
    pagesize,
    current: readNumber(dir, `hugetlb.${pagesize}.current`),
    max: readNumber(dir, `hugetlb.${pagesize}.max`, unlimited),
    failcnt: readNumbers(dir, `hugetlb.${pagesize}.events`).get('max') ?? 0n,
  }))
}
