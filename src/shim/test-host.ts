import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, createWriteStream, existsSync, readFileSync, readdirSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { fromBinary } from '@bufbuild/protobuf'

import { type TaskExit, TaskExitSchema } from '#gen/events/task_pb.ts'
import { Events } from '#gen/services/events-ttrpc_pb.ts'
import { Task as TaskV2 } from '#gen/shim/task-v2_pb.ts'
import { Task } from '#gen/shim/task-v3_pb.ts'
import type { Envelope } from '#gen/types/event_pb.ts'
import { type ErrorCode, codeOf, describe } from '#lib/errors/errors.ts'
import { type Connection, type ServiceClient, implement } from '#lib/rpc/rpc.ts'
import { connectTtrpc } from '#lib/ttrpc/client.ts'
import { type TtrpcServer, listenTtrpc } from '#lib/ttrpc/server.ts'
import { unmountRecursive } from '#sys/mount.ts'
import { identify } from '#sys/process-end.ts'

const run = promisify(execFile)
const shim = fileURLToPath(new URL('../../bin/containerd-shim-wharf-v1.mjs', import.meta.url))
const busybox = '/usr/bin/busybox'

export type TaskClient = ServiceClient<typeof Task>

/** What `start` and `delete` gave. */
export interface ShimResult {
  readonly code: number
  readonly stdout: Buffer
  readonly stderr: string
}

interface Mount {
  readonly type: string
  readonly source: string
  readonly target: string
  readonly options: string[]
}

/** A bundle on disk. */
export interface Bundle {
  readonly id: string
  readonly path: string
  readonly rootfs: Mount[]
  /** What `Create` needs at least. */
  readonly request: { readonly id: string; readonly bundle: string; readonly rootfs: Mount[] }
}

interface SpecOptions {
  readonly sharedPid?: boolean
  readonly terminal?: boolean
  readonly annotations?: Readonly<Record<string, string>>
  /** The limit, in bytes. */
  readonly memory?: number
}

/** Directories, an event service and shim hosts of one test; disposal leaves nothing behind. */
export class ShimFixture implements AsyncDisposable {
  readonly dir: string
  readonly namespace = `shimtest-${randomBytes(4).toString('hex')}`
  readonly events: Envelope[] = []
  readonly env: Record<string, string>
  readonly #connections: Connection[] = []
  #server: TtrpcServer | undefined

  private constructor(dir: string) {
    this.dir = dir
    this.env = {
      WHARF_SHIM_SOCKET_DIR: join(dir, 's'),
      WHARF_RUNC_ROOT: join(dir, 'runc'),
      WHARF_SHIM_IDLE_MS: '60000',
      TTRPC_ADDRESS: join(dir, 'events.sock'),
    }
  }

  static async open(): Promise<ShimFixture> {
    const fixture = new ShimFixture(await mkdtemp(join(tmpdir(), 'wharf-shim-')))
    await fixture.#prepare()
    return fixture
  }

  async #prepare(): Promise<void> {
    await mkdir(join(this.dir, 'image/bin'), { recursive: true })
    for (const dir of ['proc', 'dev', 'sys', 'tmp']) await mkdir(join(this.dir, 'image', dir))
    await copyFile(busybox, join(this.dir, 'image/bin/busybox'))
    for (const applet of ['sh', 'sleep', 'cat', 'true', 'stty', 'tty', 'seq', 'dd', 'kill']) {
      await copyFile(busybox, join(this.dir, 'image/bin', applet))
    }
    const service = implement(Events, {
      forward: ({ envelope }) => {
        if (envelope) this.events.push(envelope)
        return {}
      },
    })
    const path = join(this.dir, 'events.sock')
    this.#server = await listenTtrpc({ path }, { services: [service], context: (call) => call })
  }

  /** Makes a bundle as a daemon does. */
  async bundle(id: string, args: readonly string[], options: SpecOptions = {}): Promise<Bundle> {
    const path = join(this.dir, 'state', id)
    await mkdir(join(path, 'rootfs'), { recursive: true })
    const spec = specOf({ cgroup: `/${this.namespace}-${id}`, args, ...options })
    await writeFile(join(path, 'config.json'), JSON.stringify(spec))
    const source = join(this.dir, 'image')
    const rootfs = [{ type: 'bind', source, target: '', options: ['rbind', 'rw'] }]
    return { id, path, rootfs, request: { id, bundle: path, rootfs } }
  }

  /** A FIFO as a client makes them. */
  async fifo(name: string): Promise<string> {
    const path = join(this.dir, name)
    await run('mkfifo', [path])
    return path
  }

  /** Runs the shim binary. */
  async shim(bundle: Bundle, command: string, options: RunOptions = {}): Promise<ShimResult> {
    const args = ['-namespace', this.namespace, '-address', join(this.dir, 'grpc.sock')]
    args.push('-publish-binary', '/bin/true', '-id', bundle.id, '-bundle', bundle.path, command)
    const child = spawn(shim, args, {
      cwd: bundle.path,
      env: { ...process.env, ...this.env, ...options.env },
    })
    child.stdin.end(options.input)
    const chunks: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
    const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'close')])
    return { code: Number(code), stdout: Buffer.concat(chunks), stderr }
  }

  /** Starts the shim for a bundle and connects to its host. */
  async connect(bundle: Bundle, env: Record<string, string> = {}): Promise<TaskClient> {
    const { stdout, stderr, code } = await this.shim(bundle, 'start', { env })
    if (code !== 0) throw new Error(`start: ${stderr}`)
    return await this.connectTo(stdout.toString())
  }

  async connectTo(address: string): Promise<TaskClient> {
    const connection = await connectTtrpc(address)
    this.#connections.push(connection)
    const client = connection.client(Task)
    return client
  }

  /** Waits until events of these topics have come, and gives all topics so far. */
  async topics(count: number): Promise<readonly string[]> {
    for (let tries = 0; this.events.length < count && tries < 200; tries += 1) await sleep(25)
    return this.events.map(({ topic }) => topic)
  }

  /** A client of the older service. */
  async connectV2(address: string): Promise<ServiceClient<typeof TaskV2>> {
    const connection = await connectTtrpc(address)
    this.#connections.push(connection)
    return connection.client(TaskV2)
  }

  /** Waits until `condition` holds; the test's own timeout ends it. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await sleep(20)
  }

  /** The pids of all hosts that serve in this fixture. */
  hosts(): readonly number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && commandOf(name).includes(`${this.dir}/s/`))
      .map(Number)
  }

  /** The pids of the children of a process. */
  childrenOf(pid: number): readonly string[] {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean)
  }

  /** Removes a container that may be there, or is just being made or undone. */
  async gone(tasks: TaskClient, id: string): Promise<void> {
    const bundle = { id, bundle: '/no/such/bundle', rootfs: [] }
    for (;;) {
      const refused = await tasks.create(bundle).catch((err: unknown) => codeOf(err))
      if (refused !== 'already_exists') return
      await tasks.delete({ id }).catch(() => {})
      await sleep(10)
    }
  }

  /** The exits that were told so far. */
  exits(): readonly TaskExit[] {
    return this.events
      .filter(({ topic }) => topic === '/tasks/exit')
      .map(({ event }) => fromBinary(TaskExitSchema, event?.value ?? new Uint8Array()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await deleteContainers(join(this.dir, 'runc', this.namespace))
    for (const pid of this.hosts()) await endHost(pid)
    for (const connection of this.#connections) await connection[Symbol.asyncDispose]()
    await this.#server?.[Symbol.asyncDispose]()
    unmountRecursive(this.dir)
    await rm(this.dir, { recursive: true, force: true })
  }
}

interface RunOptions {
  readonly env?: Record<string, string>
  readonly input?: Uint8Array
}

/** Where the streams of a process go. */
interface Streams {
  readonly stdin?: string
  readonly stdout?: string
  readonly stderr?: string
  readonly terminal?: boolean
}

/** Creates and starts a container with these streams. */
export async function launch(
  fixture: ShimFixture,
  bundle: Bundle,
  streams: Streams,
): Promise<TaskClient> {
  const tasks = await fixture.connect(bundle)
  await tasks.create({ ...bundle.request, ...streams })
  await tasks.start({ id: bundle.id })
  return tasks
}

async function deleteContainers(root: string): Promise<void> {
  if (!existsSync(root)) return
  for (const id of await readdir(root)) await run('runc', ['--root', root, 'delete', '--force', id])
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

/** Ends a host this test started, if it still runs. Who reaps it may take its time. */
async function endHost(pid: number): Promise<void> {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
  for (let tries = 0; identify(pid) && tries < 200; tries += 1) await sleep(10)
}

/** Everything a FIFO gives until its end. */
export const readFifo = async (path: string): Promise<string> => await text(createReadStream(path))

export const writeFifo = (path: string): ReturnType<typeof createWriteStream> =>
  createWriteStream(path)

interface SpecInput extends SpecOptions {
  readonly cgroup: string
  readonly args: readonly string[]
}

function specOf({ cgroup, args, sharedPid, terminal, annotations, memory }: SpecInput): object {
  const namespaces = ['ipc', 'uts', 'mount', 'network', ...(sharedPid ? [] : ['pid'])]
  return {
    ociVersion: '1.0.2',
    process: { ...processOf(args), terminal: terminal ?? false },
    root: { path: 'rootfs' },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['mode=755'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['newinstance', 'ptmxmode=0666', 'mode=0620'],
      },
    ],
    annotations: annotations ?? {},
    linux: {
      cgroupsPath: cgroup,
      namespaces: namespaces.map((type) => ({ type })),
      ...(memory === undefined ? {} : { resources: { memory: { limit: memory, swap: memory } } }),
    },
  }
}

const processOf = (args: readonly string[]): object => ({
  user: { uid: 0, gid: 0 },
  args,
  env: ['PATH=/bin'],
  cwd: '/',
  rlimits: [{ type: 'RLIMIT_FSIZE', hard: unlimited, soft: unlimited }],
})

/** RLIM_INFINITY, which no double holds exactly. */
const unlimited: unknown = Reflect.get(JSON, 'rawJSON')('18446744073709551615')

/** The process of an exec, as a client sends it. */
export const execSpec = (...args: readonly string[]): { typeUrl: string; value: Uint8Array } => ({
  typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Process',
  value: Buffer.from(JSON.stringify(processOf(args))),
})

/** Asserts that a call fails, with this code and message. */
export async function fails(
  call: Promise<unknown>,
  code: ErrorCode,
  message: RegExp,
): Promise<void> {
  await assert.rejects(call, (err: unknown) => {
    assert.match(describe(err), message)
    assert.equal(codeOf(err), code)
    return true
  })
}
