import assert from 'node:assert/strict'
import { mkdtempDisposableSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { fromBinary } from '@bufbuild/protobuf'

import { MetricsSchema as V1MetricsSchema } from '#gen/cgroups/v1_pb.ts'
import { MetricsSchema as V2MetricsSchema } from '#gen/cgroups/v2_pb.ts'

import { readMetrics as readV1 } from './v1.ts'
import { readMetrics as readV2 } from './v2.ts'

function group(files: Readonly<Record<string, string>>): { path: string } & Disposable {
  const dir = mkdtempDisposableSync(join(tmpdir(), 'cgroup-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir.path, name), `${text}\n`)
  return { path: dir.path, [Symbol.dispose]: () => dir.remove() }
}

suite('metrics of control groups', () => {
  test('version 1 is read from one group per controller', () => {
    using dir = group({
      'pids.current': '3',
      'pids.max': 'max',
      'cpuacct.usage': '18446744073709551615',
      'cpuacct.stat': 'user 5\nsystem 7',
      'cpuacct.usage_percpu': '10 20 ',
      'cpu.stat': 'nr_periods 1\nnr_throttled 2\nthrottled_time 3',
      'memory.stat':
        'cache 11\npgpgin 12\ntotal_pgmajfault 13\nhierarchical_memsw_limit 9223372036854771712',
      'memory.usage_in_bytes': '4096',
      'memory.memsw.failcnt': '9',
      'memory.oom_control': 'oom_kill_disable 0\nunder_oom 1\noom_kill 2',
      'hugetlb.2MB.usage_in_bytes': '5',
      'hugetlb.2MB.max_usage_in_bytes': '6',
      'blkio.throttle.io_serviced': '8:0 Read 14\n8:0 Total 14\nTotal 14',
      'blkio.throttle.io_service_bytes': '',
      'rdma.current': 'mlx4_0 hca_handle=2 hca_object=2000',
      'rdma.max': 'mlx4_0 hca_handle=max hca_object=3000',
    })
    const controllers = ['pids', 'cpu', 'cpuacct', 'memory', 'hugetlb', 'blkio', 'rdma']
    const paths = new Map(controllers.map((name) => [name, dir.path]))
    const metrics = fromBinary(V1MetricsSchema, readV1(paths))
    assert.deepEqual([metrics.pids?.current, metrics.pids?.limit], [3n, 0n])
    const { usage, throttling } = metrics.cpu ?? {}
    assert.equal(usage?.total, 18446744073709551615n)
    assert.deepEqual([usage.user, usage.kernel, usage.perCpu], [50000000n, 70000000n, [10n, 20n]])
    assert.deepEqual(
      [throttling?.periods, throttling?.throttledPeriods, throttling?.throttledTime],
      [1n, 2n, 3n],
    )
    const { memory } = metrics
    assert.deepEqual(
      [memory?.cache, memory?.pgPgIn, memory?.totalPgMajFault, memory?.hierarchicalSwapLimit],
      [11n, 12n, 13n, 9223372036854771712n],
    )
    assert.deepEqual([memory?.usage?.usage, memory?.swap?.failcnt], [4096n, 9n])
    const oom = metrics.memoryOomControl
    assert.deepEqual([oom?.oomKillDisable, oom?.underOom, oom?.oomKill], [0n, 1n, 2n])
    assert.deepEqual(
      metrics.hugetlb.map(({ pagesize, usage: used, max }) => [pagesize, used, max]),
      [['2MB', 5n, 6n]],
    )
    const entries = metrics.blkio?.ioServicedRecursive.map(({ op, major, value }) => [
      op,
      major,
      value,
    ])
    assert.deepEqual(entries, [
      ['Read', 8n, 14n],
      ['Total', 8n, 14n],
    ])
    assert.deepEqual(
      [metrics.rdma?.current[0]?.hcaObjects, metrics.rdma?.limit[0]?.hcaHandles],
      [2000, 0xffffffff],
    )
  })

  test('version 2 is read from one group', () => {
    using dir = group({
      'pids.current': '3',
      'pids.max': 'max',
      'cpu.stat': 'usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_bursts 4',
      'cpu.pressure': 'some avg10=1.50 avg60=2.00 avg300=0.25 total=77',
      'memory.stat': 'anon 5\nfile 6\nworkingset_refault 7',
      'memory.current': '8',
      'memory.max': 'max',
      'memory.swap.max': '9',
      'memory.events': 'low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5',
      'io.stat': '8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0\n9:1',
      'hugetlb.1GB.current': '1',
      'hugetlb.1GB.max': 'max',
      'hugetlb.1GB.events': 'max 6',
    })
    const metrics = fromBinary(V2MetricsSchema, readV2(dir.path))
    assert.deepEqual([metrics.pids?.current, metrics.pids?.limit], [3n, 2n ** 64n - 1n])
    const { cpu, memory, io } = metrics
    assert.deepEqual([cpu?.usageUsec, cpu?.systemUsec, cpu?.nrBursts], [30n, 20n, 4n])
    assert.deepEqual([cpu?.psi?.some?.avg10, cpu?.psi?.some?.total], [1.5, 77n])
    assert.deepEqual([memory?.anon, memory?.workingsetRefault, memory?.usage], [5n, 7n, 8n])
    assert.deepEqual([memory?.usageLimit, memory?.swapLimit], [2n ** 64n - 1n, 9n])
    assert.equal(metrics.memoryEvents?.oomGroupKill, 5n)
    assert.deepEqual(
      io?.usage.map(({ major, rbytes, wios }) => [major, rbytes, wios]),
      [
        [8n, 1n, 4n],
        [9n, 0n, 0n],
      ],
    )
    assert.deepEqual(
      metrics.hugetlb.map(({ pagesize, max, failcnt }) => [pagesize, max, failcnt]),
      [['1GB', 2n ** 64n - 1n, 6n]],
    )
  })

  test('a group that is gone counts nothing', () => {
    assert.equal(fromBinary(V2MetricsSchema, readV2('/no/such/group')).memory?.usage, 0n)
    assert.equal(fromBinary(V1MetricsSchema, readV1(new Map())).memory, undefined)
  })
})
