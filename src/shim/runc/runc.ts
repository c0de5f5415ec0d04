import { join } from 'node:path'

import type { RuntimeOptions } from '#shim/bundle.ts'
import { patienceUntil } from '#shim/patience.ts'

import { type CommandOptions, type StdioFds, run } from './command.ts'
import { CommandError } from './command-error.ts'
import { SealedPrograms } from './sealed-program.ts'
import { StartSlots } from './start-slots.ts'

/** Which OCI runtime, and what it is told with every command. */
export interface RuncOptions {
  /** A path, or a name to look up: `runc`, `crun`. */
  readonly binary: string
  /** Where the runtime keeps the state of its containers. */
  readonly root: string
  /** The file the runtime logs to. */
  readonly log: string
  readonly systemdCgroup: boolean
}

export interface CreateOptions {
  readonly bundle: string
  readonly pidFile: string
  /** Absent without a terminal. */
  readonly consoleSocket?: string | undefined
  readonly noPivotRoot: boolean
  readonly noNewKeyring: boolean
  readonly stdio?: StdioFds | undefined
  readonly signal: AbortSignal
}

export interface ExecOptions {
  /** The file with the process as JSON. */
  readonly process: string
  readonly pidFile: string
  readonly consoleSocket?: string | undefined
  readonly stdio?: StdioFds | undefined
  readonly signal: AbortSignal
}

/** What criu is told, both ways. Source: go-runc `CheckpointOpts`. */
export interface CriuOptions {
  readonly imagePath: string
  /** For criu's logs. */
  readonly workPath: string
  readonly parentPath?: string
  readonly openTcp?: boolean
  readonly externalUnixSockets?: boolean
  readonly terminal?: boolean
  readonly fileLocks?: boolean
  readonly cgroupsMode?: string
  readonly emptyNamespaces?: readonly string[]
  /** The container ends with its checkpoint. */
  readonly exit?: boolean
}

export type RestoreOptions = CriuOptions & Omit<CreateOptions, 'noNewKeyring' | 'signal'>

/** Of this process. */
const programs = new SealedPrograms()
let executesSealed = true
const slots = new StartSlots()

/**
 * An OCI runtime with runc's command line: runc, crun, youki.
 *
 * Every command runs as a process of its own, and throws a `CommandError` when that fails. When
 * `signal` aborts it is killed, and a `CommandTimeout` thrown; it had better not be killed in the
 * middle: it may leave processes that nobody knows, see `removeByHand`.
 */
export class Runc {
  readonly #options: RuncOptions

  constructor(options: RuncOptions) {
    this.#options = options
  }

  /** The file with the runtime's log, one JSON object per line. */
  get log(): string {
    return this.#options.log
  }

  /** Where the runtime keeps the state of a container. */
  stateOf(id: string): string {
    return join(this.#options.root, id)
  }

  async create(id: string, options: CreateOptions): Promise<void> {
    const args = ['--bundle', options.bundle, '--pid-file', options.pidFile]
    if (options.consoleSocket) args.push('--console-socket', options.consoleSocket)
    if (options.noPivotRoot) args.push('--no-pivot')
    if (options.noNewKeyring) args.push('--no-new-keyring')
    await this.#runSealed(['create', ...args, id], options)
  }

  /** A path, or a name to look up. */
  get binary(): string {
    return this.#options.binary
  }

  async start(id: string, signal: AbortSignal): Promise<void> {
    using _ = await slots.enter(signal)
    await this.#run(['start', id], { signal })
  }

  async checkpoint(id: string, options: CriuOptions): Promise<void> {
    const args = [...criuArgs(options), ...(options.exit ? [] : ['--leave-running'])]
    await this.#run(['checkpoint', ...args, id])
  }

  /** Restores a container that the runtime does not know, and leaves it running. */
  async restore(id: string, options: RestoreOptions): Promise<void> {
    const args = [...criuArgs(options), '--detach', '--pid-file', options.pidFile]
    if (options.consoleSocket) args.push('--console-socket', options.consoleSocket)
    if (options.noPivotRoot) args.push('--no-pivot')
    const { bundle, stdio } = options
    using _ = await slots.enter()
    await this.#run(['restore', ...args, '--no-subreaper', '--bundle', bundle, id], { stdio })
  }

  async exec(id: string, options: ExecOptions): Promise<void> {
    const args = ['--detach', '--process', options.process, '--pid-file', options.pidFile]
    if (options.consoleSocket) args.push('--console-socket', options.consoleSocket)
    await this.#runSealed(['exec', ...args, id], options)
  }

  /** Sends the signal `number`. */
  async kill(
    id: string,
    number: number,
    { all, signal }: { readonly all: boolean; readonly signal: AbortSignal },
  ): Promise<void> {
    await this.#run(['kill', ...(all ? ['--all'] : []), id, String(number)], { signal })
  }

  async delete(
    id: string,
    { force, signal }: { readonly force: boolean; readonly signal: AbortSignal },
  ): Promise<void> {
    await this.#run(['delete', ...(force ? ['--force'] : []), id], { signal })
  }

  async pause(id: string): Promise<void> {
    await this.#run(['pause', id])
  }

  async resume(id: string): Promise<void> {
    await this.#run(['resume', id])
  }

  /** `resources` is the JSON of an OCI `LinuxResources`. */
  async update(id: string, resources: Uint8Array): Promise<void> {
    await this.#run(['update', '--resources', '-', id], { input: resources })
  }

  /** The pids of all processes of the container, as the host sees them. */
  async ps(id: string): Promise<readonly number[]> {
    const pids: unknown = JSON.parse((await this.#run(['ps', '--format', 'json', id])) || 'null')
    return Array.isArray(pids) ? pids.filter((pid) => typeof pid === 'number') : []
  }

  /** For commands that enter a container. */
  async #runSealed(command: readonly string[], options: CommandOptions): Promise<void> {
    using _ = await slots.enter(options.signal)
    const program = executesSealed ? await programs.find(this.#options.binary) : undefined
    try {
      await this.#run(command, { ...options, program })
    } catch (err) {
      if (program === undefined || !isSpawnError(err)) throw err
      executesSealed = false
      programs[Symbol.dispose]()
      await this.#run(command, options)
    }
  }

  async #run(command: readonly string[], options: CommandOptions = {}): Promise<string> {
    const { binary, root, log, systemdCgroup } = this.#options
    const args = ['--root', root, '--log', log, '--log-format', 'json']
    if (systemdCgroup) args.push('--systemd-cgroup')
    const { signal = patienceUntil(undefined) } = options
    return await run(binary, [...args, ...command], { ...options, signal })
  }
}

function criuArgs(options: CriuOptions): string[] {
  const args = ['--image-path', options.imagePath, '--work-path', options.workPath]
  if (options.parentPath) args.push('--parent-path', options.parentPath)
  if (options.openTcp) args.push('--tcp-established')
  if (options.externalUnixSockets) args.push('--ext-unix-sk')
  if (options.terminal) args.push('--shell-job')
  if (options.fileLocks) args.push('--file-locks')
  if (options.cgroupsMode) args.push('--manage-cgroups-mode', options.cgroupsMode)
  for (const name of options.emptyNamespaces ?? []) args.push('--empty-ns', name)
  return args
}

/** Whether nothing has run at all. */
const isSpawnError = (err: unknown): boolean =>
  err instanceof CommandError && err.cause instanceof Error

/** The OCI runtime for the container in `bundle`. */
export const openRunc = (bundle: string, namespace: string, options: RuntimeOptions): Runc =>
  new Runc({
    binary: options.binaryName || 'runc',
    root: join(options.root, namespace),
    log: join(bundle, 'log.json'),
    systemdCgroup: options.systemdCgroup,
  })
