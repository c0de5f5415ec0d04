import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

import { type Message, create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { GenMessage } from '@bufbuild/protobuf/codegenv2'

import { defaultSettings } from '#plugin/settings.ts'
import { type Any, jsonTypes } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { Envelope } from '#core/events/events.ts'
import type { CreateOptions, Stdio, Task } from '#core/runtime/runtime.ts'
import { TaskExitSchema } from '#gen/events/task_pb.ts'
import { Events } from '#gen/services/events-ttrpc_pb.ts'
import { OptionsSchema } from '#gen/types/runc-options_pb.ts'
import { implement } from '#lib/rpc/rpc.ts'
import { listenTtrpc } from '#lib/ttrpc/server.ts'
import { EventExchange } from '#plugins/events/exchange.ts'
import { ShimTaskManager } from '#plugins/runtime/manager.ts'
import { programPath } from '#lib/release/release.ts'
import { mountInfo } from '#sys/mount-info.ts'
import { recordingLogger } from '#testing/context.ts'

/** Which shim a bench runs containers with. */
export interface BenchOptions {
  readonly builtinShim: boolean
  readonly runtime: string
  /** Whether the OCI runtime is one that hangs, or kills its parent, when it is told to. */
  readonly hangs?: boolean
}

/** A task manager in directories of its own, with a place for its shims to send events to. */
export interface Bench extends AsyncDisposable {
  readonly ctx: Context
  readonly dir: string
  readonly namespace: string
  readonly manager: ShimTaskManager
  readonly events: readonly Envelope[]
  readonly logs: readonly string[]
  /** `[timeouts]` of the daemon, in ms; what is not in there has its default. */
  readonly timeouts: Map<string, number>
  /** Has the OCI runtime hang in a command from now on, such as `create`; in none without. */
  hang(command?: string): void
  /** Has it run out of memory in a command from now on; in none without. */
  starve(command?: string): void
  /** Has it kill the shim host once, before or after its next command of this name. */
  killHost(when: 'before' | 'after', command: string): void
  /** Lets go of the shims and finds them again, as a restarted daemon does. */
  reopen(meanwhile?: () => void): Promise<void>
  create(
    id: string,
    args: readonly string[],
    options?: Partial<CreateOptions>,
    ctx?: Context,
  ): Promise<Task>
  bundle(id: string): string
  /** The topics of the events of a task, oldest first. */
  topics(id: string): string[]
}

const nowhere: Stdio = { stdin: '', stdout: '', stderr: '', terminal: false }
let count = 0

export async function openBench(options: BenchOptions): Promise<Bench> {
  await using scope = new AsyncDisposableStack()
  const dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'wharf-rt-'))).path
  const namespace = `rt${process.pid}-${count++}`
  const logs: string[] = []
  const timeouts = new Map<string, number>()
  const stop = new AbortController()
  scope.defer(() => stop.abort())
  const ctx = { signal: stop.signal, log: recordingLogger(logs), namespace }

  makeRootfs(dir)
  const exchange = new EventExchange(ctx)
  const events: Envelope[] = []
  const reading = collect(exchange, ctx, events)
  scope.defer(async () => {
    stop.abort()
    await reading
  })
  scope.use(await serveEvents(dir, ctx, exchange))
  const open = (): ShimTaskManager =>
    new ShimTaskManager(
      { ...ctx, signal: new AbortController().signal },
      settings(dir, options, timeouts),
      exchange,
    )
  let manager = open()
  scope.defer(async () => await endEverything(manager, ctx, dir))

  const binaryName = options.hangs ? hangingRuntime(dir) : ''
  const runtimeOptions = create(OptionsSchema, { root: join(dir, 'runc'), binaryName })
  const owned = scope.move()
  return {
    ctx,
    dir,
    namespace,
    events,
    logs,
    timeouts,
    hang: (command = '') => writeFileSync(join(dir, 'order'), `hang ${command}`),
    starve: (command = '') => writeFileSync(join(dir, 'order'), `starve ${command}`),
    killHost: (when, command) => writeFileSync(join(dir, 'order'), `${when} ${command}`),
    get manager() {
      return manager
    },
    async reopen(meanwhile) {
      await manager[Symbol.asyncDispose]()
      meanwhile?.()
      manager = open()
    },
    async create(id, args, more = {}, as = ctx) {
      const spec = specOf(args, { namespace, id, terminal: more.terminal ?? false })
      return await manager.create(as, id, {
        ...nowhere,
        spec,
        rootfs: [{ type: 'bind', source: join(dir, 'image'), options: ['rbind', 'rw'] }],
        runtime: options.runtime,
        runtimeOptions: pack(OptionsSchema, runtimeOptions),
        checkpoint: '',
        sandbox: '',
        ...more,
      })
    },
    bundle: (id) => join(dir, 'state', namespace, id),
    topics: (id) => events.filter((event) => isOf(event, id)).map((event) => event.topic),
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  }
}

/** Waits for what must become true; the test's own timeout is the limit of many of these. */
export async function until(what: string, is: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000
  while (!(await is())) {
    if (Date.now() > deadline) throw new Error(`still not so: ${what}`)
    await sleep(2)
  }
}

/**
 * Waits until nothing is left of a container: bundle, work directory, mounts, state and control
 * groups of the runtime, processes of that.
 */
export async function assertNothingLeft(bench: Bench, id: string): Promise<void> {
  const { dir, namespace } = bench
  const places = {
    bundle: bench.bundle(id),
    work: join(dir, 'root', namespace, id),
    runc: join(dir, 'runc', namespace, id),
  }
  const cgroups = readdirSync('/sys/fs/cgroup').map((each) =>
    join('/sys/fs/cgroup', each, 'wharf-test', namespace, id),
  )
  const left = (): string[] => [
    ...Object.values(places).filter((path) => existsSync(path)),
    ...cgroups.filter((path) => existsSync(path)),
    ...mountInfo().flatMap(({ mountPoint }) =>
      mountPoint.startsWith(`${places.bundle}/`) ? [mountPoint] : [],
    ),
    ...processesWith('hanging-runc', places.bundle).map((pid) => `process ${pid}`),
  ]
  await until(`nothing is left, like ${left().join(' ')}`, () => left().length === 0)
}

/** Pids of processes whose command line has all of `words`. */
export function processesWith(...words: string[]): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      const line = commandLine(pid)
      return words.every((word) => line.includes(word))
    })
    .map(Number)
}

/** A process spec for exec. */
export const processOf = (args: readonly string[], terminal = false): Any => ({
  typeUrl: jsonTypes.process,
  value: Buffer.from(JSON.stringify(processSpec(args, terminal))),
})

export const run: (file: string, args: readonly string[]) => Promise<{ stdout: string }> =
  promisify(execFile)

/** runc, but for the command that the file `order` names, and what is to happen there. */
function hangingRuntime(dir: string): string {
  const path = join(dir, 'hanging-runc')
  const script = `#!/bin/sh
order=${dir}/order
read -r what command < $order
for word in "$@"; do
  [ "$word" = "$command" ] || continue
  case $what in
    hang) sleep 1000 ;;
    starve) ulimit -v 30000 ;;
    before) rm $order; kill -9 $PPID ;;
    after) rm $order; runc "$@"; code=$?; kill -9 $PPID; exit $code ;;
  esac
done
exec runc "$@"
`
  writeFileSync(path, script, { mode: 0o755 })
  return path
}

function settings(
  dir: string,
  { builtinShim }: BenchOptions,
  timeouts: ReadonlyMap<string, number>,
) {
  const timeout = (name: string): number => timeouts.get(name) ?? defaultSettings.timeout(name)
  return {
    root: join(dir, 'root'),
    state: join(dir, 'state'),
    address: join(dir, 'wharf.sock'),
    ttrpcAddress: join(dir, 'wharf.sock.ttrpc'),
    socketDir: join(dir, 's'),
    runcRoot: join(dir, 'runc'),
    serving: Promise.resolve(),
    live: { timeout },
    builtinShim,
    isolation: 'namespace' as const,
    hostBinary: programPath('containerd-shim-wharf-v1.mjs'),
    daemonBinary: programPath('wharfd.mjs'),
  }
}

function makeRootfs(dir: string): void {
  const image = join(dir, 'image')
  for (const name of ['bin', 'proc', 'dev', 'tmp']) {
    mkdirSync(join(image, name), { recursive: true })
  }
  copyFileSync('/bin/busybox', join(image, 'bin', 'busybox'))
}

async function serveEvents(dir: string, ctx: Context, exchange: EventExchange) {
  const service = implement<Context, typeof Events>(Events, {
    forward({ envelope }) {
      if (!envelope?.timestamp || !envelope.event) throw new Error('an envelope lacks a part')
      const { timestamp, event, namespace, topic } = envelope
      exchange.forward(ctx, { namespace, topic, timestamp, event })
      return {}
    },
  })
  const path = join(dir, 'wharf.sock.ttrpc')
  return await listenTtrpc({ path }, { services: [service], context: () => ctx, stopMs: 100 })
}

async function collect(exchange: EventExchange, ctx: Context, into: Envelope[]): Promise<void> {
  for await (const envelope of exchange.subscribe(ctx)) into.push(envelope)
}

/** The container id is the first field of every event of a task. */
function isOf({ event }: Envelope, id: string): boolean {
  const { containerId } = fromBinary(
    TaskExitSchema,
    event.value.subarray(0, 2 + (event.value[1] ?? 0)),
  )
  return containerId === id
}

async function endEverything(manager: ShimTaskManager, ctx: Context, dir: string): Promise<void> {
  const live = { ...ctx, signal: AbortSignal.timeout(30_000) }
  for (const task of await manager.list(live)) {
    await task.kill(live, { signal: 9, all: true }).catch(() => {})
    await task.wait(live).catch(() => {})
    await manager.delete(live, task.id).catch(() => {})
  }
  await manager[Symbol.asyncDispose]()
  await until('every shim has ended', () => processesWith('containerd-shim', dir).length === 0)
  removeSockets(dir, ctx.namespace ?? '')
  removeCgroups(ctx.namespace ?? '')
}

/** Go shims of old always have their sockets here, and one that is killed leaves it. */
function removeSockets(dir: string, namespace: string): void {
  for (const id of ['a', 'b']) {
    const digest = createHash('sha256')
      .update(join(dir, 'wharf.sock', namespace, id))
      .digest('hex')
    rmSync(join('/run/containerd/s', digest), { force: true })
  }
}

/** The parents that the OCI runtime made for the cgroups of the containers. */
function removeCgroups(namespace: string): void {
  for (const controller of ['.', ...readdirSync('/sys/fs/cgroup')]) {
    for (const path of [namespace, '.']) {
      try {
        rmdirSync(join('/sys/fs/cgroup', controller, 'wharf-test', path))
      } catch {
        // Not every controller has it, and others may still use the one above.
      }
    }
  }
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  } catch {
    // It has ended.
    return ''
  }
}

const pack = <T extends Message>(schema: GenMessage<T>, message: T): Any => ({
  typeUrl: schema.typeName,
  value: toBinary(schema, message),
})

const processSpec = (args: readonly string[], terminal: boolean) => ({
  terminal,
  user: { uid: 0, gid: 0 },
  args: ['/bin/busybox', ...args],
  env: ['PATH=/bin', 'TERM=xterm'],
  cwd: '/',
  noNewPrivileges: true,
})

function specOf(
  args: readonly string[],
  { namespace, id, terminal }: { namespace: string; id: string; terminal: boolean },
): Any {
  const spec = {
    ociVersion: '1.0.2',
    process: processSpec(args, terminal),
    root: { path: 'rootfs' },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      { destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['newinstance'] },
    ],
    linux: {
      cgroupsPath: `/wharf-test/${namespace}/${id}`,
      namespaces: ['pid', 'ipc', 'uts', 'mount', 'network'].map((type) => ({ type })),
    },
  }
  return { typeUrl: jsonTypes.spec, value: Buffer.from(JSON.stringify(spec)) }
}
