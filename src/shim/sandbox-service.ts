import { setTimeout as sleep } from 'node:timers/promises'

import type { Logger } from '#core/context.ts'
import { hostPlatform } from '#core/platforms/platforms.ts'
import { Sandbox as SandboxApi } from '#gen/shim/sandbox_pb.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { alreadyExists, hasCode, notFound } from '#lib/errors/errors.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'

import { type SandboxRecord, readSandboxes, writeSandbox } from './sandbox-record.ts'
import type { Work } from './work.ts'
import { toTimestamp } from './timestamp.ts'

/** A container of a sandbox, as far as its end is concerned. */
export interface SandboxMember {
  readonly exited: Promise<unknown>
  kill(signal: number, all: boolean): Promise<void>
}

interface Sandbox {
  readonly id: string
  readonly createdAt: Date
  readonly bundle: string
  readonly netns: string
  readonly stopped: PromiseWithResolvers<Date>
  startedAt?: Date
  stoppedAt?: Date
}

const [SIGTERM, SIGKILL] = [15, 9] as const

/**
 * `containerd.runtime.sandbox.v1.Sandbox` for the sandboxes of a host.
 *
 * A sandbox here is a group of containers and nothing else: it needs no pause container, and has no
 * process, so its pid is 0. It is up from `StartSandbox` until `StopSandbox`, which ends the containers
 * that are still in it, and is not affected by their ends. What its containers share, such as a
 * network namespace, is made by whoever makes the sandbox, and is in their specs.
 */
export class SandboxService {
  readonly #sandboxes = new Map<string, Sandbox>()
  readonly #membersOf: (sandbox: string) => readonly SandboxMember[]

  /** @param membersOf - The containers that have joined a sandbox. */
  constructor(membersOf: (sandbox: string) => readonly SandboxMember[]) {
    this.#membersOf = membersOf
  }

  /** Goes on with the sandboxes of a host that was killed; `dir` has their bundles. */
  adopt(dir: string, socket: string, log: Logger): void {
    for (const { bundle, record } of readSandboxes(dir, socket, log)) {
      this.#sandboxes.set(record.id, adopted(bundle, record))
      log.info('sandbox adopted', { id: record.id })
    }
  }

  /** How many sandboxes there are. */
  get size(): number {
    return this.#sandboxes.size
  }

  services(): readonly RegisteredService<Work>[] {
    return [
      implement(SandboxApi, {
        createSandbox: ({ sandboxId: id, bundlePath, netnsPath }) =>
          this.#create(id, bundlePath, netnsPath),
        startSandbox: ({ sandboxId }) => this.#start(sandboxId),
        platform: ({ sandboxId }) => {
          this.#find(sandboxId)
          const { os, architecture, variant } = hostPlatform
          return { platform: { os, architecture, variant } }
        },
        stopSandbox: async ({ sandboxId, timeoutSecs }, { signal }) =>
          await this.#stop(this.#find(sandboxId), timeoutSecs * 1000, signal),
        waitSandbox: async ({ sandboxId }, { signal }) => {
          const stoppedAt = await raceAbort(this.#find(sandboxId).stopped.promise, signal)
          return { exitStatus: 0, exitedAt: toTimestamp(stoppedAt) }
        },
        sandboxStatus: ({ sandboxId, verbose }) => this.#status(this.#find(sandboxId), verbose),
        pingSandbox: ({ sandboxId }) => {
          this.#find(sandboxId)
          return {}
        },
        shutdownSandbox: async ({ sandboxId }, { signal }) => {
          await this.#stop(this.#find(sandboxId), 0, signal)
          this.#sandboxes.delete(sandboxId)
          return {}
        },
        // It uses nothing itself; its containers are measured each for itself.
        sandboxMetrics: ({ sandboxId }) => {
          this.#find(sandboxId)
          return {}
        },
      }),
    ]
  }

  #create(id: string, bundle: string, netns: string): object {
    if (this.#sandboxes.has(id)) throw alreadyExists(`sandbox ${id}`)
    const stopped = Promise.withResolvers<Date>()
    const sandbox = { id, createdAt: new Date(), bundle, netns, stopped }
    writeDown(sandbox)
    this.#sandboxes.set(id, sandbox)
    return {}
  }

  #start(id: string) {
    const sandbox = this.#find(id)
    if (sandbox.startedAt)
      throw new Error(`cannot start sandbox ${id} in state ${stateOf(sandbox)}`)
    sandbox.startedAt = new Date()
    writeDown(sandbox)
    return { pid: 0, createdAt: toTimestamp(sandbox.createdAt) }
  }

  /** Members get `graceMs` to end by themselves; the wait for the killed ones is the caller's. */
  async #stop(sandbox: Sandbox, graceMs: number, signal: AbortSignal): Promise<object> {
    if (sandbox.stoppedAt) return {}
    const members = this.#membersOf(sandbox.id)
    const exits = Promise.all(members.map((each) => each.exited))
    if (members.length > 0 && graceMs > 0) {
      await killAll(members, SIGTERM, false)
      const over = new AbortController()
      const grace = sleep(graceMs, undefined, { signal: over.signal }).catch(() => {})
      await raceAbort(Promise.race([exits, grace]), signal)
      over.abort()
    }
    await killAll(members, SIGKILL, true)
    await raceAbort(exits, signal)
    sandbox.stoppedAt ??= new Date()
    writeDown(sandbox)
    sandbox.stopped.resolve(sandbox.stoppedAt)
    return {}
  }

  #status(sandbox: Sandbox, verbose: boolean) {
    const { id, createdAt, stoppedAt, bundle, netns } = sandbox
    const containers = String(this.#membersOf(id).length)
    return {
      sandboxId: id,
      pid: 0,
      state: stateOf(sandbox),
      info: verbose ? { bundle, netns, containers } : {},
      createdAt: toTimestamp(createdAt),
      ...(stoppedAt ? { exitedAt: toTimestamp(stoppedAt) } : {}),
    }
  }

  #find(id: string): Sandbox {
    const sandbox = this.#sandboxes.get(id)
    if (!sandbox) throw notFound(`sandbox ${id}`)
    return sandbox
  }
}

/** Writes down what a new host would have to know, should this one be killed. */
function writeDown({ id, bundle, netns, createdAt, startedAt, stoppedAt }: Sandbox): void {
  writeSandbox(bundle, {
    id,
    netns,
    createdAt: createdAt.toISOString(),
    startedAt: startedAt?.toISOString(),
    stoppedAt: stoppedAt?.toISOString(),
  })
}

function adopted(bundle: string, { id, netns, ...times }: SandboxRecord): Sandbox {
  const stopped = Promise.withResolvers<Date>()
  const [startedAt, stoppedAt] = [times.startedAt, times.stoppedAt].map(
    (time) => time && new Date(time),
  )
  if (stoppedAt) stopped.resolve(stoppedAt)
  return {
    id,
    bundle,
    netns,
    createdAt: new Date(times.createdAt),
    stopped,
    ...(startedAt ? { startedAt } : {}),
    ...(stoppedAt ? { stoppedAt } : {}),
  }
}

const stateOf = ({ startedAt, stoppedAt }: Sandbox): string =>
  startedAt && !stoppedAt ? 'SANDBOX_READY' : 'SANDBOX_NOTREADY'

async function killAll(
  members: readonly SandboxMember[],
  signal: number,
  all: boolean,
): Promise<void> {
  for (const member of members) {
    try {
      await member.kill(signal, all)
    } catch (err) {
      // It has ended already.
      if (!hasCode(err, 'not_found')) throw err
    }
  }
}
