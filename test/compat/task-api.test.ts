import assert from 'node:assert/strict'
import { existsSync, readdirSync, rmdirSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { fromBinary } from '@bufbuild/protobuf'

import { jsonTypes } from '#core/any/any.ts'
import { MetricsSchema as MetricsV1 } from '#gen/cgroups/v1_pb.ts'
import { MetricsSchema as MetricsV2 } from '#gen/cgroups/v2_pb.ts'
import { Tasks } from '#gen/services/tasks_pb.ts'
import { ProcessDetailsSchema } from '#gen/types/runc-options_pb.ts'
import { Status } from '#gen/types/task_pb.ts'
import { type ErrorCode, codeOf, describe } from '#lib/errors/errors.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import type { Connection, ServiceClient } from '#lib/rpc/rpc.ts'
import { cgroupMode } from '#sys/cgroup.ts'
import { openFifo } from '#sys/fifo.ts'
import { mkfifo } from '#sys/node.ts'
import { type Containerd, containerd1, containerd2 } from '#testing/containerd.ts'
import { type TestDaemon, run, startDaemon } from '#testing/daemon.ts'
import { eventually } from '#testing/eventually.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'

/*
 * One list of what a client of the tasks API may expect, for every pair of a daemon and a shim: what
 * holds for containerd with its own shim must hold for each of them.
 */

interface Combination {
  readonly daemon?: Containerd
  readonly runtime: string
}

const [one, two] = [containerd1(), containerd2()]
const ours = { runtime: 'io.containerd.wharf.v1' }
const combinations: Readonly<Record<string, Combination>> = {
  'wharfd with its own host': ours,
  ...(one && {
    'containerd 1.6 with its shim': { daemon: one, runtime: 'io.containerd.runc.v2' },
    'containerd 1.6 with our host': { daemon: one, ...ours },
    'wharfd with the shim of 1.6': { runtime: one.shim },
  }),
  ...(two && {
    'containerd 2 with our host': { daemon: two, ...ours },
    'wharfd with the shim of 2': { runtime: two.shim },
  }),
}
/** Go's shims keep the state of all containers of a namespace in one place, whatever the daemon. */
const namespace = `tasks${process.pid}`
const image = 'docker.io/library/busybox:latest'
const ctr = (two ?? one)?.ctr ?? ''
const shim = fileURLToPath(new URL('../../bin/containerd-shim-wharf-v1.mjs', import.meta.url))
const why = process.getuid?.() === 0 ? 'needs a containerd' : 'needs root'
const skip = ctr !== '' && process.getuid?.() === 0 ? false : why

/** A daemon with an image, and two clients of its tasks. */
class Bench implements AsyncDisposable {
  readonly dir: string
  readonly tasks: ServiceClient<typeof Tasks>
  readonly others: ServiceClient<typeof Tasks>
  readonly #daemon: TestDaemon
  readonly #runtime: string
  readonly #scope: AsyncDisposable

  private constructor(
    daemon: TestDaemon,
    runtime: string,
    connections: readonly [Connection, Connection],
    scope: AsyncDisposable,
  ) {
    this.dir = daemon.dir
    this.#daemon = daemon
    this.#runtime = runtime
    this.tasks = connections[0].client(Tasks)
    this.others = connections[1].client(Tasks)
    this.#scope = scope
  }

  static async open({ daemon: containerd, runtime }: Combination): Promise<Bench> {
    const dir = await mkdtemp(join(tmpdir(), 'tasks-'))
    const bin = join(dir, 'bin')
    await mkdir(bin)
    await symlink(shim, join(bin, 'containerd-shim-wharf-v1'))
    await using scope = new AsyncDisposableStack()
    const env = {
      PATH: `${bin}:${process.env['PATH'] ?? ''}`,
      WHARF_SHIM_SOCKET_DIR: join(dir, 's'),
      WHARF_RUNC_ROOT: join(dir, 'runc'),
    }
    const daemon = scope.use(await startDaemon({ ...(containerd && { containerd }), dir, env }))
    const connect = async (): Promise<Connection> =>
      scope.use(
        await connectGrpc(daemon.address, { metadata: { 'containerd-namespace': namespace } }),
      )
    const connections = [await connect(), await connect()] as const
    const bench = new Bench(daemon, runtime, connections, scope.move())
    await writeImage(busyboxImage(image), join(dir, 'image.tar'))
    const local = ctr === two?.ctr ? ['--local'] : []
    await bench.ctr('image', 'import', ...local, join(dir, 'image.tar'))
    return bench
  }

  async ctr(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await run(ctr, [
      '-a',
      this.#daemon.address,
      '-n',
      namespace,
      ...args,
    ])
    assert.equal(code, 0, `ctr ${args.join(' ')}: ${stderr}\n${await this.#daemon.log()}`)
    return stdout
  }

  /** A container that runs `args`. */
  async start(id: string, ...args: readonly string[]): Promise<void> {
    await this.ctr('run', '-d', '--runtime', this.#runtime, image, id, ...args)
  }

  /** Ends what `start` made. */
  async end(containerId: string): Promise<void> {
    const waiting = this.tasks.wait({ containerId })
    await this.tasks.kill({ containerId, signal: 9 }).catch(() => {})
    await waiting
    await this.tasks.delete({ containerId })
    await this.ctr('container', 'rm', containerId)
  }

  fifo(name: string): string {
    const path = join(this.dir, name)
    mkfifo(path, 0o700)
    return path
  }

  /** A step that failed has left its container. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { tasks } = await this.tasks.list({})
    for (const { id } of tasks) await this.end(id)
    await this.#scope[Symbol.asyncDispose]()
    await rm(join('/run/containerd/runc', namespace), { recursive: true, force: true })
    removeCgroups()
  }
}

/** The groups that held those of the containers. */
function removeCgroups(): void {
  for (const controller of readdirSync('/sys/fs/cgroup')) {
    const path = join('/sys/fs/cgroup', controller, namespace)
    if (existsSync(path)) rmdirSync(path)
  }
  const unified = join('/sys/fs/cgroup', namespace)
  if (existsSync(unified)) rmdirSync(unified)
}

/** What comes out of a FIFO, which is held open. */
function reader(path: string): { readonly text: string } & Disposable {
  const fd = openFifo(path, 'readwrite', { nonblock: true })
  const socket = new Socket({ fd, writable: false })
  const read = { text: '', [Symbol.dispose]: () => void socket.destroy() }
  socket.on('data', (chunk: Buffer) => {
    read.text += chunk.toString()
  })
  return read
}

const processOf = (args: readonly string[], more: object = {}) => ({
  typeUrl: jsonTypes.process,
  value: Buffer.from(
    JSON.stringify({ user: { uid: 0, gid: 0 }, args, env: ['PATH=/bin'], cwd: '/', ...more }),
  ),
})

async function failsWith(code: ErrorCode, call: Promise<unknown>, message: RegExp): Promise<void> {
  await assert.rejects(call, (err) => {
    assert.match(describe(err), message)
    assert.equal(codeOf(err), code)
    return true
  })
}

for (const [name, combination] of Object.entries(combinations)) {
  suite(`the tasks of ${name}`, { skip, timeout: 240_000 }, () => {
    test('do all that their API says', { timeout: 200_000 }, async (t) => {
      await using bench = await Bench.open(combination)
      for (const [title, step] of Object.entries(steps)) {
        await t.test(title, { timeout: 60_000 }, async () => await step(bench))
      }
    })
  })
}

const steps: Readonly<Record<string, (bench: Bench) => Promise<void>>> = {
  'several clients are told of an end, and all of the same': async (bench) => {
    const { tasks, others } = bench
    const containerId = 'a'
    await bench.start('a', 'sleep', '1000')
    const waiting = [tasks, others, tasks].map((client) => client.wait({ containerId }))
    const left = new AbortController()
    const leaving = others.wait({ containerId }, { signal: left.signal })
    left.abort()
    await assert.rejects(leaving)
    const { process } = await tasks.get({ containerId })
    assert.deepEqual([process?.status, process?.exitStatus], [Status.RUNNING, 0])
    await others.kill({ containerId, signal: 15, all: false })
    await tasks.kill({ containerId, signal: 9 })
    const [first, ...rest] = await Promise.all(waiting)
    assert.ok(first?.exitedAt)
    assert.equal(first.exitStatus, 137)
    for (const exit of rest) assert.deepEqual(exit, first)
    assert.deepEqual(await others.wait({ containerId }), first)
    const stopped = (await tasks.get({ containerId })).process
    assert.deepEqual(
      [stopped?.status, stopped?.exitStatus, stopped?.exitedAt],
      [Status.STOPPED, 137, first.exitedAt],
    )
    await failsWith('not_found', tasks.kill({ containerId, signal: 9 }), /process already finished/)
    const deleted = await tasks.delete({ containerId })
    assert.deepEqual([deleted.exitStatus, deleted.exitedAt], [137, first.exitedAt])
    await failsWith('not_found', tasks.get({ containerId }), /task a not found/)
    await bench.ctr('container', 'rm', 'a')
  },

  'an exec is another user at a terminal of a size': async (bench) => {
    const { tasks } = bench
    const ids = { containerId: 'b', execId: 'x' }
    await bench.start('b', 'sleep', '1000')
    const [stdin, stdout] = [bench.fifo('b-in'), bench.fifo('b-out')]
    using screen = reader(stdout)
    using keyboard = new KeyboardFifo(stdin)
    const script = 'id -u; id -g; read x; stty size; exit 3'
    const user = { uid: 1000, gid: 1001 }
    const spec = processOf(['sh', '-c', script], { user, terminal: true })
    await tasks.exec({ ...ids, stdin, stdout, terminal: true, spec })
    await failsWith('already_exists', tasks.exec({ ...ids, spec }), /id x: already exists/)
    const waiting = tasks.wait(ids)
    const { pid } = await tasks.start(ids)
    await tasks.resizePty({ ...ids, width: 91, height: 37 })
    const { process } = await tasks.get(ids)
    assert.deepEqual(
      [process?.id, process?.pid, process?.status, process?.terminal, process?.stdout],
      ['x', pid, Status.RUNNING, true, stdout],
    )
    // Typed before, it would be shown first.
    await eventually(async () => await Promise.resolve(screen.text.includes('1001') || undefined))
    keyboard.write('go\n')
    assert.equal((await waiting).exitStatus, 3)
    await eventually(async () => await Promise.resolve(screen.text.includes('37 91') || undefined))
    assert.match(screen.text, /^1000\r\n1001\r\n/)
    const deleted = await tasks.deleteProcess(ids)
    assert.deepEqual([deleted.id, deleted.pid, deleted.exitStatus], ['x', pid, 3])
    await failsWith('not_found', tasks.start(ids), /not found/)
    await bench.end('b')
  },

  'processes are listed with the names of the execs': async (bench) => {
    const { tasks } = bench
    const containerId = 'c'
    await bench.start('c', 'sleep', '1000')
    const ids = { containerId, execId: 'y' }
    await tasks.exec({ ...ids, spec: processOf(['sleep', '1000']) })
    const { pid } = await tasks.start(ids)
    const { processes } = await tasks.listPids({ containerId })
    const init = (await tasks.get({ containerId })).process?.pid
    assert.deepEqual(new Set(processes.map((each) => each.pid)), new Set([init, pid]))
    const info = processes.find((each) => each.pid === pid)?.info
    assert.equal(info?.typeUrl, ProcessDetailsSchema.typeName)
    assert.equal(fromBinary(ProcessDetailsSchema, info.value).execId, 'y')
    await failsWith('unknown', tasks.deleteProcess(ids), /cannot delete a running process/)
    const waiting = tasks.wait(ids)
    await tasks.kill({ ...ids, signal: 15 })
    assert.equal((await waiting).exitStatus, 143)
    await tasks.deleteProcess(ids)
    await bench.end('c')
  },

  'the input of an exec ends when it is closed': async (bench) => {
    const { tasks } = bench
    const ids = { containerId: 'd', execId: 'z' }
    await bench.start('d', 'sleep', '1000')
    const [stdin, stdout, stderr] = ['d-in', 'd-out', 'd-err'].map((each) => bench.fifo(each))
    assert.ok(stdin && stdout && stderr)
    using output = reader(stdout)
    using _errors = reader(stderr)
    await tasks.exec({ ...ids, stdin, stdout, stderr, spec: processOf(['cat']) })
    const waiting = tasks.wait(ids)
    {
      using keyboard = new KeyboardFifo(stdin)
      await tasks.start(ids)
      keyboard.write('words')
      await eventually(async () => await Promise.resolve(output.text === 'words' || undefined))
    }
    await tasks.closeIO({ ...ids, stdin: true })
    assert.equal((await waiting).exitStatus, 0)
    await tasks.deleteProcess(ids)
    await bench.end('d')
  },

  'one is paused, limited and measured': async (bench) => {
    const { tasks } = bench
    const containerId = 'e'
    await bench.start('e', 'sleep', '1000')
    const statusNow = async () => (await tasks.get({ containerId })).process?.status
    await tasks.pause({ containerId })
    assert.equal(await statusNow(), Status.PAUSED)
    await failsWith('unknown', tasks.pause({ containerId }), /cannot pause a paused container/)
    await tasks.resume({ containerId })
    assert.equal(await statusNow(), Status.RUNNING)
    const resources = {
      typeUrl: jsonTypes.linuxResources,
      value: Buffer.from(JSON.stringify({ memory: { limit: 64 << 20 }, pids: { limit: 77 } })),
    }
    await tasks.update({ containerId, resources })
    const { metrics } = await tasks.metrics({ filters: ['id==e'] })
    const [metric] = metrics
    assert.ok(metric?.data && metrics.length === 1)
    assert.deepEqual(limitsIn(metric.data), [64n << 20n, 77n])
    const none = await tasks.metrics({ filters: ['id==nobody'] })
    assert.deepEqual(none.metrics, [])
    await bench.end('e')
  },

  'a signal for all reaches every process': async (bench) => {
    const { tasks } = bench
    const containerId = 'f'
    await bench.start('f', 'sleep', '1000')
    const ids = { containerId, execId: 'w' }
    await tasks.exec({ ...ids, spec: processOf(['sleep', '1000']) })
    await tasks.start(ids)
    const ends = [tasks.wait({ containerId }), tasks.wait(ids)]
    await tasks.kill({ containerId, signal: 9, all: true })
    for (const end of await Promise.all(ends)) assert.equal(end.exitStatus, 137)
    const late = tasks.exec({ containerId, execId: 'v', spec: processOf(['true']) })
    await failsWith('unknown', late, /cannot exec in a stopped state/)
    await tasks.deleteProcess(ids)
    await tasks.delete({ containerId })
    await bench.ctr('container', 'rm', 'f')
  },
}

/** The writing end of a FIFO that may have no reader yet. */
class KeyboardFifo implements Disposable {
  readonly #socket: Socket

  constructor(path: string) {
    this.#socket = new Socket({
      fd: openFifo(path, 'readwrite', { nonblock: true }),
      readable: false,
    })
  }

  write(text: string): void {
    this.#socket.write(text)
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }
}

/** The limits of memory and of processes, whatever the control groups of this host are. */
function limitsIn({ typeUrl, value }: { readonly typeUrl: string; readonly value: Uint8Array }) {
  if (cgroupMode() === 'unified') {
    assert.equal(typeUrl, MetricsV2.typeName)
    const { memory, pids } = fromBinary(MetricsV2, value)
    return [memory?.usageLimit, pids?.limit]
  }
  assert.equal(typeUrl, MetricsV1.typeName)
  const { memory, pids } = fromBinary(MetricsV1, value)
  return [memory?.usage?.limit, pids?.limit]
}
