import { closeSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

import { untilAborted } from '#lib/async/until-aborted.ts'
import { describe, permissionDenied } from '#lib/errors/errors.ts'
import { openTracing, type Tracing } from '#lib/otel/tracing.ts'
import { packageVersion } from '#lib/release/release.ts'
import type { Peer } from '#lib/rpc/rpc.ts'
import { traced } from '#lib/rpc/traced.ts'
import { type TtrpcServer, listenTtrpc } from '#lib/ttrpc/server.ts'
import { CgroupMoves } from '#sys/cgroup-moves.ts'
import { cgroupMounts } from '#sys/cgroup.ts'
import { peerCredentials, socketFd } from '#sys/peer.ts'
import { prctl, setSubreaper, setThreadName } from '#sys/process.ts'

import type { ShimFlags } from './flags.ts'
import { IdleWatch } from './idle-watch.ts'
import { HostLog } from './log.ts'
import { OomWatch } from './oom/oom-watch.ts'
import { EventPublisher } from './publisher.ts'
import { Reaper } from './reaper.ts'
import { commandsRunning } from './runc/command.ts'
import { RootfsMounts } from './rootfs.ts'
import { SandboxService } from './sandbox-service.ts'
import { claimSocket, lockSocketDir } from './socket-lock.ts'
import { TaskService } from './task-service.ts'
import type { Work } from './work.ts'

/** Where `start` waits to hear that the host serves, or why it does not. */
const readyFd = 3

/**
 * Serves the containers of one group until nobody needs it: this is the shim host.
 *
 * It ends when it has had no container and no client for a while, or at once when a client says
 * `Shutdown` with `now` and no container is left. If another host serves the group already, it
 * leaves that to it.
 */
export async function serve(flags: ShimFlags, env: NodeJS.ProcessEnv): Promise<undefined> {
  const log = new HostLog(flags.debug)
  log.attach(process.cwd())
  try {
    await using scope = new AsyncDisposableStack()
    const stopped = await open(flags, env, log, scope)
    ready('ok')
    if (stopped) await untilAborted(stopped)
  } catch (err) {
    log.error('shim host failed', { error: describe(err) })
    ready(describe(err))
    throw err
  }
}

function ready(text: string): void {
  try {
    writeSync(readyFd, text)
    closeSync(readyFd)
  } catch {
    // Said already, or nobody waits for it any more.
  }
}

/** @returns what aborts when the host shall end; `undefined` if another one has the socket. */
async function open(
  flags: ShimFlags,
  env: NodeJS.ProcessEnv,
  log: HostLog,
  scope: AsyncDisposableStack,
): Promise<AbortSignal | undefined> {
  const { namespace, socket } = flags
  const stop = new AbortController()
  if (env['SCHED_CORE']) shareCore()
  setSubreaper()
  setThreadName('wharf-shim')
  // It is the daemon's: systemd would take the runtime's word for it.
  delete process.env['NOTIFY_SOCKET']
  // This is for the host alone: see `startHost`.
  delete process.env['MALLOC_ARENA_MAX']
  const events = scope.use(
    new EventPublisher({ address: env['TTRPC_ADDRESS'] ?? '', namespace, log }),
  )
  const reaper = scope.use(new Reaper(() => commandsRunning() === 0))
  const rootfs = scope.use(new RootfsMounts(log))
  const oom = scope.use(new OomWatch())
  const moves = scope.use(new CgroupMoves())
  const shared = { reaper, rootfs, oom, cgroupMounts: cgroupMounts(), moves, events }
  const tasks = new TaskService({
    services: { namespace, ...shared, env, log },
    onShutdown: (now) => {
      if (now && sandboxes.size === 0) stop.abort()
    },
  })
  const sandboxes = new SandboxService((id) => tasks.membersOf(id))
  const inUse = (): boolean => tasks.size > 0 || sandboxes.size > 0
  const idle = new IdleWatch(env, () => stop.abort())
  const tracing = await trace(env, log)
  if (tracing) scope.use(tracing)
  const bundles = bundleDirs(process.cwd())
  const server = await listen(socket, { tasks, sandboxes, idle, tracing, bundles, log })
  if (!server) return undefined
  scope.defer(async () => {
    // Node removes the socket; under the lock it cannot be one that a new host has made. Where the
    // directory is gone there is nothing to remove.
    using _ = await lockSocketDir(socket).catch(() => undefined)
    await server[Symbol.asyncDispose]()
  })
  scope.use(idle.watch(() => inUse() || server.connections > 0))
  handleSignals(inUse, stop, log)
  process.chdir('/')
  return stop.signal
}

/** What runs from here on shares a physical core with nobody else. Source: upstream `pkg/schedcore`. */
function shareCore(): void {
  const [PR_SCHED_CORE, PR_SCHED_CORE_CREATE, processGroup] = [62, 1, 2] as const
  try {
    prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, processGroup, 0)
  } catch (err) {
    throw new Error('enable core scheduling, which SCHED_CORE asks for', { cause: err })
  }
}

/** Without tracing containers run as well; what keeps it from working is said once. */
async function trace(env: NodeJS.ProcessEnv, log: HostLog): Promise<Tracing | undefined> {
  try {
    return await openTracing(env, {
      service: 'containerd-shim-wharf-v1',
      version: packageVersion,
      complain: (error, spans) => log.warn('spans are lost', { error, spans }),
    })
  } catch (err) {
    log.warn('nothing is traced', { error: describe(err) })
    return undefined
  }
}

/** Where bundles are; the one that the host was started for may be of either kind. */
interface BundleDirs {
  readonly tasks: string
  readonly sandboxes: string
}

function bundleDirs(bundle: string): BundleDirs {
  const [tasks, sandboxes] = [
    '/io.containerd.runtime.v2.task/',
    '/io.containerd.sandbox.controller.v1.shim/',
  ] as const
  const dir = dirname(bundle)
  return { tasks: dir.replace(sandboxes, tasks), sandboxes: dir.replace(tasks, sandboxes) }
}

interface Listening {
  readonly tasks: TaskService
  readonly sandboxes: SandboxService
  readonly idle: IdleWatch
  readonly tracing: Tracing | undefined
  /** Those in there may have had another host at this socket. */
  readonly bundles: BundleDirs
  readonly log: HostLog
}

async function listen(
  path: string,
  { tasks, sandboxes, idle, tracing, bundles, log }: Listening,
): Promise<TtrpcServer | undefined> {
  using _ = await lockSocketDir(path)
  if (!(await claimSocket(path))) return undefined
  await tasks.adopt(bundles.tasks, path)
  sandboxes.adopt(bundles.sandboxes, path, log)
  const mask = process.umask(0o177)
  try {
    return await listenTtrpc<Work>(
      { path },
      {
        services: [...tasks.services(), ...sandboxes.services()],
        // With tracing a copy is made for each call, which what a call has in store is not part of.
        context: (call) => (tracing ? { signal: call.signal, deadline: call.deadline } : call),
        interceptors: tracing
          ? [traced<Work>(tracing.trace, (work, own) => ({ ...work, trace: own }))]
          : [],
        peerOf: (connection) => peerCredentials(socketFd(connection)),
        authorize: (peer) => {
          idle.touch()
          requireSameUser(peer)
        },
      },
    )
  } finally {
    process.umask(mask)
  }
}

/** Source: upstream ttrpc `UnixSocketRequireSameUser`. */
function requireSameUser(peer: Peer | undefined): void {
  if (peer?.uid !== process.geteuid?.() || peer?.gid !== process.getegid?.()) {
    throw permissionDenied('ttrpc: caller is another user')
  }
}

/** Nothing short of SIGKILL takes the host away from its containers. */
function handleSignals(inUse: () => boolean, stop: AbortController, log: HostLog): void {
  const onSignal = (signal: string): void => {
    if (!inUse()) stop.abort()
    else log.warn('signal ignored while containers are there', { signal })
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  process.on('SIGHUP', () => {})
  process.on('uncaughtException', (err) => {
    log.error('uncaught exception', { error: describe(err), stack: err.stack })
  })
}
