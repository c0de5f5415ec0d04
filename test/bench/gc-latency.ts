import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { Containers } from '#gen/services/containers_pb.ts'
import { Leases } from '#gen/services/leases_pb.ts'
import { Snapshots } from '#gen/services/snapshots_pb.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import type { Connection } from '#lib/rpc/rpc.ts'

import type { Prepared, Row, Samples, Subject } from './row.ts'
import { quantile } from './statistics.ts'

const snapshotter = 'overlayfs'
const inFlight = 16
/** Small files in each of the snapshots that are collected. */
const filesEach = 3

const operations = ['container create', 'snapshot prepare'] as const
type Operation = (typeof operations)[number]

const idle = (operation: Operation): string => `${operation}, p99, idle`
const meanwhile = (operation: Operation): string => `${operation}, p99, 2 000 snapshots collected`
const overIdle = (operation: Operation): string => `${operation}, p99, that over idle`
const took = 'collection of 2 000 snapshots'

/** How long small writes take, one at a time, while the collector removes 2 000 snapshots. */
export const gcLatency: Row = {
  name: 'gc-latency',
  figures: [
    ...operations.flatMap((operation) => [
      { name: idle(operation), unit: 'ms', better: 'lower', quantile: 0.99 } as const,
      { name: meanwhile(operation), unit: 'ms', better: 'lower', quantile: 0.99 } as const,
      { name: overIdle(operation), unit: '×', better: 'lower' } as const,
    ]),
    { name: took, unit: 'ms', better: 'lower' },
  ],
  setup: async ({ daemon, namespace, quick }: Subject): Promise<Prepared> => {
    const [snapshots, creates] = quick ? [50, 20] : [2000, 500]
    await using scope = new AsyncDisposableStack()
    const metadata = { 'containerd-namespace': namespace }
    const connection = scope.use(await connectGrpc(daemon.address, { metadata }))
    await measure(connection, namespace, 20, 20)
    const owned = scope.move()
    return {
      measure: async () => await measure(connection, namespace, snapshots, creates),
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    }
  },
}

async function measure(
  connection: Connection,
  namespace: string,
  snapshots: number,
  creates: number,
): Promise<Samples> {
  const leases = connection.client(Leases)
  for (const id of ['garbage', 'kept']) await leases.create({ id })
  await makeGarbage(connection, inLease(namespace, 'garbage'), snapshots)
  await using small = new SmallWrites(connection, inLease(namespace, 'kept'))
  const before = await small.until((count) => count >= creates)
  const began = performance.now()
  const collection = { ms: 0 }
  const collected = leases.delete({ id: 'garbage', sync: true }).finally(() => {
    collection.ms = performance.now() - began
  })
  const during = await small.until(() => collection.ms > 0)
  await collected
  const samples: Record<string, number | readonly number[]> = { [took]: collection.ms }
  for (const operation of operations) {
    samples[idle(operation)] = before[operation]
    samples[meanwhile(operation)] = during[operation]
    const [low, high] = [before, during].map((taken) => quantile(taken[operation], 0.99))
    if (low !== undefined && high !== undefined) samples[overIdle(operation)] = high / low
  }
  return samples
}

const inLease = (namespace: string, lease: string) => ({
  metadata: { 'containerd-namespace': namespace, 'containerd-lease': lease },
})

type Options = ReturnType<typeof inLease>

/** Makes snapshots with a few files each, which a lease holds. */
async function makeGarbage(connection: Connection, lease: Options, count: number): Promise<void> {
  const client = connection.client(Snapshots)
  let next = 0
  const maker = async (): Promise<void> => {
    while (next < count) {
      const key = `garbage-${next++}`
      const { mounts } = await client.prepare({ snapshotter, key }, lease)
      for (let file = 0; file < filesEach; file++) {
        await writeFile(join(mounts[0]?.source ?? '', `file-${file}`), 'some text')
      }
    }
  }
  await Promise.all(Array.from({ length: inFlight }, maker))
}

/** Creates containers and snapshots in turn. Disposal deletes them, and the lease that holds them. */
class SmallWrites implements AsyncDisposable {
  readonly #connection: Connection
  readonly #lease: Options
  #made = 0

  constructor(connection: Connection, lease: Options) {
    this.#connection = connection
    this.#lease = lease
  }

  /** Goes on until `done` says so of the number of creates of each kind. @returns ms of each */
  async until(done: (count: number) => boolean): Promise<Record<Operation, number[]>> {
    const containers = this.#connection.client(Containers)
    const snapshots = this.#connection.client(Snapshots)
    const taken: Record<Operation, number[]> = { 'container create': [], 'snapshot prepare': [] }
    for (let count = 0; !done(count); count++) {
      const id = `small-${this.#made++}`
      const container = { id, runtime: { name: 'io.containerd.runc.v2' }, spec }
      const began = performance.now()
      await containers.create({ container })
      const between = performance.now()
      await snapshots.prepare({ snapshotter, key: id }, this.#lease)
      taken['container create'].push(between - began)
      taken['snapshot prepare'].push(performance.now() - between)
    }
    return taken
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const containers = this.#connection.client(Containers)
    for (let n = 0; n < this.#made; n++) await containers.delete({ id: `small-${n}` })
    await this.#connection.client(Leases).delete({ id: 'kept', sync: true })
  }
}

const spec = {
  typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Spec',
  value: Buffer.from('{}'),
}
