import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Any } from '#core/any/any.ts'
import type { Container } from '#core/containers/containers.ts'
import type { Context } from '#core/context.ts'
import type { Task } from '#core/runtime/runtime.ts'
import { MetricsSchema as V1Schema } from '#gen/cgroups/v1_pb.ts'
import { MetricsSchema as V2Schema } from '#gen/cgroups/v2_pb.ts'
import { notFound } from '#lib/errors/errors.ts'
import { pack } from '#proxy/convert/pack.ts'
import { newContext } from '#testing/context.ts'

import { collectTasks } from './collect.ts'

/** A task of which only the stats are asked. */
function taskWith(id: string, stats: (ctx: Context) => Promise<Any>): Task {
  const nobody = (): never => {
    throw new Error('nobody was to ask this')
  }
  return {
    id,
    namespace: 'red',
    pid: 1,
    state: nobody,
    start: nobody,
    kill: nobody,
    exec: nobody,
    deleteExec: nobody,
    resizePty: nobody,
    closeStdin: nobody,
    pause: nobody,
    resume: nobody,
    pids: nobody,
    checkpoint: nobody,
    update: nobody,
    stats,
    wait: nobody,
  }
}

/** What a scrape of these tasks has, as `name{labels} value` without the labels all have. */
async function scraped(ctx: Context, tasks: readonly Task[], timeoutMs = 5000): Promise<string[]> {
  const container: Container = {
    id: '',
    labels: {},
    image: '',
    runtime: { name: 'io.containerd.runc.v2' },
    snapshotKey: '',
    snapshotter: '',
    sandbox: '',
    extensions: {},
    createdAt: new Date(0),
    updatedAt: new Date(0),
  }
  const families = await collectTasks(ctx, {
    tasks: { list: async () => await Promise.resolve(tasks) },
    containers: { get: async (_ctx, id) => await Promise.resolve({ ...container, id }) },
    timeoutMs: () => timeoutMs,
  })
  return families.flatMap((family) =>
    [...family.samples()].map(({ labels: { container_id, namespace, runtime, ...own }, value }) => {
      assert.deepEqual([namespace, runtime], ['red', 'io.containerd.runc.v2'])
      return `${container_id} ${family.name}${JSON.stringify(own)} ${value}`
    }),
  )
}

test('a cgroup of version 1 has its numbers, and none that it does not count', async (t) => {
  const entry = { op: 'Read', device: '/dev/sda', major: 8n, minor: 0n, value: 5n }
  const stats = pack(V1Schema, {
    pids: { current: 3n, limit: 10n },
    cpu: { usage: { total: 12n, perCpu: [5n, 7n] } },
    memory: { usage: { usage: 100n } },
    blkio: { ioServicedRecursive: [entry] },
    hugetlb: [{ pagesize: '2MB', usage: 6n }],
  })
  const lines = await scraped(newContext(t), [
    taskWith('a', async () => await Promise.resolve(stats)),
  ])
  for (const line of [
    'a container_pids_limit{} 10',
    'a container_pids_current{} 3',
    'a container_cpu_total_nanoseconds{} 12',
    'a container_per_cpu_nanoseconds{"cpu":"1"} 7',
    'a container_memory_usage_usage_bytes{} 100',
    'a container_memory_cache_bytes{} 0',
    'a container_hugetlb_usage_bytes{"page":"2MB"} 6',
    'a container_blkio_io_serviced_recursive_total{"op":"Read","device":"/dev/sda","major":"8","minor":"0"} 5',
  ]) {
    assert.ok(lines.includes(line), `${line}\n${lines.join('\n')}`)
  }
  const names = lines.join('\n')
  assert.doesNotMatch(names, /throttle|memory_swap|memory_oom|io_merged/)
})

test('a cgroup of version 2 has its numbers', async (t) => {
  const stats = pack(V2Schema, {
    pids: { current: 3n, limit: 10n },
    cpu: { usageUsec: 12n },
    memory: { usage: 100n, pgfault: 4n },
    memoryEvents: { oom: 2n },
    io: { usage: [{ major: 8n, minor: 1n, rbytes: 9n }] },
  })
  const lines = await scraped(newContext(t), [
    taskWith('a', async () => await Promise.resolve(stats)),
  ])
  for (const line of [
    'a container_pids_current{} 3',
    'a container_cpu_usage_usec_microseconds{} 12',
    'a container_memory_usage_bytes{} 100',
    'a container_memory_pgfault_bytes{} 4',
    'a container_memory_oom_total{} 2',
    'a container_io_rbytes_bytes{"major":"8","minor":"1"} 9',
  ]) {
    assert.ok(lines.includes(line), `${line}\n${lines.join('\n')}`)
  }
})

test('a shim that does not answer, and a task that is gone, are left out', async (t) => {
  const stats = pack(V2Schema, { pids: { current: 3n, limit: 10n } })
  const stuck = async ({ signal }: Context): Promise<Any> => await sleep(60_000, stats, { signal })
  const lines = await scraped(
    newContext(t),
    [
      taskWith('stuck', stuck),
      taskWith('gone', async () => await Promise.reject(notFound('task gone'))),
      taskWith('odd', async () => await Promise.resolve({ typeUrl: 'a.B', value: Buffer.of(1) })),
      taskWith('a', async () => await Promise.resolve(stats)),
    ],
    50,
  )
  assert.deepEqual(lines, ['a container_pids_limit{} 10', 'a container_pids_current{} 3'])
})
