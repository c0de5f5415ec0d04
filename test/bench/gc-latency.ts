import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { Containers } from '#gen/services/containers_pb.ts'
import { Images } from '#gen/services/images_pb.ts'
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
/** How long an image may take to come in, and how often it is looked for, in ms. */
const [importMs, pollMs] = [120_000, 10]

const operations = ['container create', 'snapshot prepare'] as const
type Operation = (typeof operations)[number]

/** What goes on while small writes are timed, and how long that takes. */
const loads = [
  { name: 'collecting', took: 'collection of 2 000 snapshots' },
  { name: 'collecting and unpacking', took: 'import of 2 GB, 2 000 snapshots collected meanwhile' },
] as const
type Load = (typeof loads)[number]
type LoadName = Load['name']

const idle = (operation: Operation): string => `${operation}, p99, idle`
const meanwhile = (operation: Operation, load: LoadName): string => `${operation}, p99, ${load}`
const overIdle = (operation: Operation, load: LoadName): string =>
  `${operation}, p99, ${load} / idle`

const p99 = { unit: 'ms', better: 'lower', quantile: 0.99 } as const

/**
 * How long small writes take, one at a time, while the collector removes 2 000 snapshots, and while
 * it does so and a client imports and unpacks a large image.
 */
export const gcLatency: Row = {
  name: 'gc-latency',
  hugeImage: true,
  figures: [
    ...operations.flatMap((operation) => [
      { name: idle(operation), ...p99 },
      ...loads.flatMap(({ name }) => [
        { name: meanwhile(operation, name), ...p99 },
        { name: overIdle(operation, name), unit: '×', better: 'lower' } as const,
      ]),
    ]),
    ...loads.map(({ took }) => ({ name: took, unit: 'ms', better: 'lower' }) as const),
  ],
  setup: async (subject: Subject): Promise<Prepared> => {
    const [snapshots, creates] = subject.quick ? [50, 20] : [2000, 500]
    await using scope = new AsyncDisposableStack()
    const metadata = { 'containerd-namespace': subject.namespace }
    const connection = scope.use(await connectGrpc(subject.daemon.address, { metadata }))
    const bench = new Bench(connection, subject)
    await bench.measure(20, 20, loads.slice(0, 1))
    const owned = scope.move()
    return {
      measure: async () => await bench.measure(snapshots, creates, loads),
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    }
  },
}

class Bench {
  readonly #connection: Connection
  readonly #subject: Subject

  constructor(connection: Connection, subject: Subject) {
    this.#connection = connection
    this.#subject = subject
  }

  async measure(snapshots: number, creates: number, chosen: readonly Load[]): Promise<Samples> {
    const { namespace } = this.#subject
    await this.#connection.client(Leases).create({ id: 'kept' })
    await using small = new SmallWrites(this.#connection, inLease(namespace, 'kept'))
    await this.#makeGarbage(snapshots)
    const before = await small.until((count) => count >= creates)
    const samples: Record<string, number | readonly number[]> = {}
    for (const operation of operations) samples[idle(operation)] = before[operation]
    for (const { name, took } of chosen) {
      if (name !== chosen[0]?.name) await this.#makeGarbage(snapshots)
      const began = performance.now()
      const running = { ms: 0 }
      const ended = this.#run(name).finally(() => void (running.ms = performance.now() - began))
      const [during] = await Promise.all([small.until(() => running.ms > 0), ended])
      samples[took] = running.ms
      for (const operation of operations) {
        samples[meanwhile(operation, name)] = during[operation]
        const [low, high] = [before, during].map((taken) => quantile(taken[operation], 0.99))
        if (low !== undefined && high !== undefined) samples[overIdle(operation, name)] = high / low
      }
      if (name !== 'collecting') await this.#removeImage()
    }
    return samples
  }

  async #makeGarbage(count: number): Promise<void> {
    await this.#connection.client(Leases).create({ id: 'garbage' })
    await makeGarbage(this.#connection, inLease(this.#subject.namespace, 'garbage'), count)
  }

  async #run(load: LoadName): Promise<void> {
    const { ctr, hugeImage } = this.#subject
    if (!hugeImage) throw new Error('no image was made to unpack')
    if (load === 'collecting') return await this.#collect()
    const importing = ctr('image', 'import', hugeImage.file)
    await Promise.all([importing, this.#whenUnpacked(hugeImage.name).then(() => this.#collect())])
  }

  async #removeImage(): Promise<void> {
    const { ctr, hugeImage } = this.#subject
    if (hugeImage) await ctr('image', 'rm', '--sync', hugeImage.name)
  }

  async #collect(): Promise<void> {
    await this.#connection.client(Leases).delete({ id: 'garbage', sync: true })
  }

  /** When all of an image has come in and is about to be unpacked. */
  async #whenUnpacked(name: string): Promise<void> {
    const images = this.#connection.client(Images)
    const signal = AbortSignal.timeout(importMs)
    for (;;) {
      const { images: found } = await images.list({ filters: [`name==${name}`] }, { signal })
      if (found.length > 0) return
      await sleep(pollMs, undefined, { signal })
    }
  }
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
