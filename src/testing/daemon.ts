import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { unmountRecursive } from '#sys/mount.ts'

import type { Containerd } from './containerd.ts'
import { withLegacyCgroups } from './legacy-cgroups.ts'
import { removeShimLeftovers, shimLeftovers } from './shim-leftovers.ts'

/** What a program said and how it ended. */
export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** A daemon under test, wharfd or the real thing, with directories of its own. */
export interface TestDaemon extends AsyncDisposable {
  readonly dir: string
  readonly root: string
  readonly state: string
  readonly address: string
  /** Its process; a restarted daemon has another. */
  readonly process: ChildProcess
  /** What it has logged so far. */
  log(): Promise<string>
  /** Ends it with `signal`, SIGTERM by default, and waits. */
  stop(signal?: NodeJS.Signals): Promise<void>
  /** Starts it again on the same directories. */
  start(): Promise<void>
}

/** How to start a daemon under test. */
export interface DaemonOptions {
  /** More of `config.toml`, after what the directories need. */
  readonly config?: string
  /** More keys of `config.toml` above its tables. */
  readonly top?: string
  /** URIs of more plugins to leave out. */
  readonly disabled?: readonly string[]
  /** The real thing instead of wharfd. */
  readonly containerd?: Containerd
  /** The Node that runs wharfd; the one that runs this, or what `program` finds itself, unless given. */
  readonly node?: string
  /** The `wharfd.mjs` to run; this checkout's unless given. */
  readonly program?: string
  readonly env?: Readonly<Record<string, string>>
  /** Its mount namespace has the control groups of version 1 alone. */
  readonly legacyCgroups?: boolean
  /** Directories of an earlier daemon, to go on with. */
  readonly dir?: string
}

const wharfd = fileURLToPath(new URL('../../bin/wharfd.mjs', import.meta.url))
/** Much more than it takes, as many tests may run on a small machine. */
const startMs = 45_000
const stopMs = 20_000

/**
 * Starts a daemon in a scratch directory and waits until it serves. Disposal stops it, ends the
 * shims it left and removes the directory.
 */
export async function startDaemon(options: DaemonOptions = {}): Promise<TestDaemon> {
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), 'wharfd-')))
  const daemon = new ScratchDaemon(dir, options)
  await mkdir(daemon.root, { recursive: true })
  await writeFile(join(dir, 'config.toml'), configOf(daemon, options))
  try {
    await daemon.start()
  } catch (err) {
    // A daemon that goes on would keep the test from ending.
    if (options.dir === undefined) await daemon[Symbol.asyncDispose]()
    else await daemon.stop('SIGKILL')
    throw err
  }
  return daemon
}

const configOf = (daemon: TestDaemon, options: DaemonOptions): string => `version = 2
root = "${daemon.root}"
state = "${daemon.state}"
disabled_plugins = ${JSON.stringify(['io.containerd.grpc.v1.cri', ...(options.disabled ?? [])])}
${options.top ?? ''}

[grpc]
address = "${daemon.address}"

[plugins."io.containerd.internal.v1.opt"]
path = "${join(daemon.dir, 'opt')}"

${options.config ?? ''}
`

/** A program that is named starts as users start it. That of this checkout needs no PATH, which tests replace. */
function commandOf({ containerd, node, program }: DaemonOptions): readonly [string, ...string[]] {
  if (containerd) return [containerd.containerd]
  if (program !== undefined && node === undefined) return [program]
  return [node ?? process.execPath, program ?? wharfd]
}

class ScratchDaemon implements TestDaemon {
  readonly dir: string
  readonly root: string
  readonly state: string
  readonly address: string
  readonly #options: DaemonOptions
  #process: ChildProcess | undefined

  constructor(dir: string, options: DaemonOptions) {
    this.dir = dir
    this.root = join(dir, 'root')
    this.state = join(dir, 'state')
    this.address = join(dir, 'state', 'd.sock')
    this.#options = options
  }

  get process(): ChildProcess {
    if (!this.#process) throw new Error('the daemon has not been started')
    return this.#process
  }

  async log(): Promise<string> {
    return await readFile(join(this.dir, 'log'), 'utf8')
  }

  async start(): Promise<void> {
    const config = ['--config', join(this.dir, 'config.toml')]
    const { legacyCgroups = false } = this.#options
    const program = commandOf(this.#options)
    const [command, ...args] = legacyCgroups ? [...withLegacyCgroups, ...program] : program
    const child = spawn(command, [...args, ...config], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...this.#options.env },
    })
    this.#process = child
    const booted = Promise.withResolvers<void>()
    let tail = ''
    child.stderr.on('data', (chunk: Buffer) => {
      appendFileSync(join(this.dir, 'log'), chunk)
      tail = (tail + chunk.toString()).slice(-4000)
      if (tail.includes('successfully booted')) booted.resolve()
    })
    child.once('exit', (code) => {
      booted.reject(new Error(`the daemon ended with ${code}:\n${tail}`))
    })
    using _late = setTimeout(() => {
      booted.reject(new Error(`not serving after ${startMs} ms:\n${tail}${waits(child.pid)}`))
    }, startMs)
    await booted.promise
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#process
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill(signal)
    using _late = setTimeout(() => child.kill('SIGKILL'), stopMs)
    await exited
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    const left = shimLeftovers(this.state)
    await endLeftovers(this.dir)
    await removeShimLeftovers(left)
    unmountRecursive(this.dir)
    await rm(this.dir, { recursive: true, force: true })
  }
}

/** What each thread of a process is doing in the kernel: whether it waits, and for what. */
function waits(pid: number | undefined): string {
  try {
    const threads = readdirSync(`/proc/${pid}/task`)
    return threads
      .map((id) => {
        const [comm, stat, stack] = ['comm', 'stat', 'stack'].map((file) =>
          readFileSync(`/proc/${pid}/task/${id}/${file}`, 'utf8').trim(),
        )
        const [state = '', ...rest] = stat?.split(') ').at(-1)?.split(' ') ?? []
        return `${comm} ${state}, ${rest[10]} + ${rest[11]} ticks\n${stack}`
      })
      .join('\n')
  } catch (err) {
    return `nothing is known of its threads: ${String(err)}`
  }
}

/** Kills the shims that still serve for a daemon in `dir`: their command line or environment names it. */
async function endLeftovers(dir: string): Promise<void> {
  const { stdout } = await run('pgrep', ['-f', dir])
  for (const line of stdout.split('\n').filter(Boolean)) {
    try {
      process.kill(Number(line), 'SIGKILL')
    } catch {
      // it has ended meanwhile
    }
  }
}

/** What `ctr` says of a deprecated host is about the machine, and not what is tested. */
const quiet = { CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS: '1' }

/** Runs a program to its end; a code other than 0 is not an error. */
export async function run(
  command: string,
  args: readonly string[],
  options: {
    readonly env?: NodeJS.ProcessEnv
    readonly timeoutMs?: number
    /** What it reads on standard input. */
    readonly input?: Uint8Array
  } = {},
): Promise<Ran> {
  const { promise, resolve, reject } = Promise.withResolvers<Ran>()
  const { env = process.env, timeoutMs = 60_000 } = options
  const child = execFile(
    command,
    args,
    {
      env: { ...quiet, ...env },
      timeout: timeoutMs,
      maxBuffer: 256 * 1024 * 1024,
      encoding: 'utf8',
    },
    (err, stdout, stderr) => {
      if (err && typeof err.code !== 'number') {
        reject(new Error(`${command} ${args.join(' ')}: ${err.message}\n${stdout}${stderr}`))
      } else resolve({ code: typeof err?.code === 'number' ? err.code : 0, stdout, stderr })
    },
  )
  if (options.input) child.stdin?.end(options.input)
  return await promise
}
