import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { create, toBinary } from '@bufbuild/protobuf'

import { OptionsSchema } from '#gen/types/runc-options_pb.ts'
import { describe } from '#lib/errors/errors.ts'
import { cgroupMounts } from '#sys/cgroup.ts'
import { root } from '#testing/root.ts'

import { type Bench, assertNothingLeft, openBench, processesWith, until } from './runtime-bench.ts'

const benchOptions = { builtinShim: true, runtime: 'io.containerd.runc.v2' }
const mb = 1024 * 1024
/** Less than any program of Node needs, and more than this one does. */
const [little, plenty] = [6 * mb, 500 * mb] as const

/** Where memory is limited, with either version of control groups. */
const memory = cgroupMounts().find(
  ({ type, superOptions }) => type === 'cgroup2' || superOptions.includes('memory'),
)
const isV1 = memory?.type === 'cgroup'

/** A control group for the shim host, whose memory is limited. */
class Group implements AsyncDisposable {
  readonly #path: string
  readonly name: string

  constructor(name: string, bytes: number) {
    this.name = `/${name}`
    this.#path = join(memory?.mountPoint ?? '', name)
    mkdirSync(this.#path)
    this.limit(bytes)
  }

  limit(bytes: number): void {
    writeFileSync(join(this.#path, isV1 ? 'memory.limit_in_bytes' : 'memory.max'), String(bytes))
  }

  /** What it holds now. */
  get used(): number {
    const file = isV1 ? 'memory.usage_in_bytes' : 'memory.current'
    return Number(readFileSync(join(this.#path, file), 'utf8'))
  }

  /** The processes in it. */
  get processes(): readonly number[] {
    return readFileSync(join(this.#path, 'cgroup.procs'), 'utf8').trim().split('\n').map(Number)
  }

  get kills(): number {
    const file = isV1 ? 'memory.oom_control' : 'memory.events'
    const [, kills] = /^oom_kill (\d+)$/m.exec(readFileSync(join(this.#path, file), 'utf8')) ?? []
    return Number(kills)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (let tries = 0; ; tries += 1) {
      try {
        rmdirSync(this.#path)
        return
      } catch (err) {
        if (tries === 200) throw err
        await sleep(50)
      }
    }
  }
}

async function withGroup(
  bytes: number,
  body: (bench: Bench, group: Group, start: (id: string) => Promise<void>) => Promise<void>,
): Promise<void> {
  await using group = new Group(`wharf-shim-memory-${process.pid}`, bytes)
  await using bench = await openBench(benchOptions)
  const { ctx, dir } = bench
  const options = create(OptionsSchema, { root: join(dir, 'runc'), shimCgroup: group.name })
  const value = toBinary(OptionsSchema, options)
  const start = async (id: string): Promise<void> => {
    const runtimeOptions = { typeUrl: OptionsSchema.typeName, value }
    const task = await bench.create(id, ['sleep', '1000'], { runtimeOptions })
    await task.start(ctx)
  }
  await body(bench, group, start)
}

const hostsOf = ({ dir }: Bench): number[] => processesWith('containerd-shim', dir, 'serve')

async function end(bench: Bench, id: string): Promise<void> {
  const { ctx, manager } = bench
  const task = await manager.get(ctx, id)
  await task.kill(ctx, { signal: 9 })
  await task.wait(ctx)
  await manager.delete(ctx, id)
  await assertNothingLeft(bench, id)
}

const check = (
  title: string,
  bytes: number,
  body: (bench: Bench, group: Group, start: (id: string) => Promise<void>) => Promise<void>,
): void => {
  void test(title, { timeout: 120_000 }, async (t) => {
    if (!root(t)) return
    await withGroup(bytes, body)
  })
}

void suite('a shim host without memory', { skip: memory ? false : 'needs its controller' }, () => {
  check(
    'when it starts is told of, leaves nothing, and can be tried again',
    little,
    async (bench, group, start) => {
      await assert.rejects(start('a'), (err) => {
        assert.match(describe(err), /start.* shim/)
        return true
      })
      assert.ok(group.kills > 0)
      await assertNothingLeft(bench, 'a')
      assert.deepEqual(hostsOf(bench), [])
      group.limit(plenty)
      await start('a')
      await end(bench, 'a')
    },
  )

  check(
    'in the middle leaves its containers running, and goes on',
    plenty,
    async (bench, group, start) => {
      await start('old')
      const { pid } = await bench.manager.get(bench.ctx, 'old')
      const [host = 0] = hostsOf(bench)
      const errors: string[] = []
      while (hostsOf(bench).includes(host)) {
        group.limit(group.used + mb / 4)
        await start('new').catch((err: unknown) => errors.push(describe(err)))
        group.limit(plenty)
        await removed(bench, 'new')
      }
      assert.ok(group.kills > 0)
      for (const error of errors) assert.match(error, /shim|runtime|rootfs/)
      process.kill(pid, 0)
      await until('the container is adopted', async () => {
        const task = await bench.manager.get(bench.ctx, 'old')
        return (await task.state(bench.ctx)).status === 'running'
      })
      assert.deepEqual(new Set(group.processes), new Set(hostsOf(bench)), 'in its group, too')
      await start('new')
      await end(bench, 'new')
      await end(bench, 'old')
    },
  )
})

/** Removes a container, however far it came. */
async function removed(bench: Bench, id: string): Promise<void> {
  const { ctx, manager } = bench
  await until(`${id} is removed`, async () => {
    const task = await manager.get(ctx, id).catch(() => undefined)
    if (!task) return true
    await task.kill(ctx, { signal: 9 }).catch(() => {})
    await manager.delete(ctx, id).catch(() => {})
    return false
  })
  await assertNothingLeft(bench, id)
}
