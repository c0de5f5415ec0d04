import { addressOf, type Argument, native } from './libc.ts'
import { systemError } from './errno.ts'
import { type ChildExit, waitpid } from './process.ts'

/*
 * Processes that are made without copying this one. Node forks: the page tables of a process of 60 MB are
 * copied, and then its pages, as either side writes to them (measured: 1.7 ms a process, against 0.6 ms).
 * posix_spawn(3) has parent and child share memory until the child executes its program.
 */

/** What a process is started with. */
export interface SpawnOptions {
  /** What is executed: a path, or a name to look up in this process's `PATH`. */
  readonly program: string
  /** The first is what the program is told as its own name. */
  readonly argv: readonly string[]
  readonly env: NodeJS.ProcessEnv
  /** Become its stdin, stdout and stderr; they stay the caller's to close. */
  readonly stdio: readonly [number, number, number]
}

/** A child of this process that Node does not know. */
export interface SpawnedProcess {
  readonly pid: number
  /** How it ended, when it has; it is reaped then. Undefined if somebody else has reaped it. */
  readonly ended: Promise<ChildExit | undefined>
}

const posixSpawn: (...args: [Int32Array, string, ...Uint8Array[]]) => number = native(
  'int posix_spawnp(void *pid, const char *file, void *actions, void *attributes, void *argv, void *envp)',
)
const initActions = native('int posix_spawn_file_actions_init(void *actions)')
const addDup2 = native('int posix_spawn_file_actions_adddup2(void *actions, int fd, int as)')
const destroyActions = native('int posix_spawn_file_actions_destroy(void *actions)')
const initAttributes = native('int posix_spawnattr_init(void *attributes)')
const setFlags = native('int posix_spawnattr_setflags(void *attributes, short flags)')
const setDefaults = native('int posix_spawnattr_setsigdefault(void *attributes, void *signals)')
const setMask = native('int posix_spawnattr_setsigmask(void *attributes, void *signals)')

const [POSIX_SPAWN_SETSIGDEF, POSIX_SPAWN_SETSIGMASK] = [4, 8]
/** More than the structures take in any C library: 80, 336 and 128 bytes in glibc. */
const structureBytes = 512

/** Those that have not been reaped yet. */
const running = new Map<number, (exit: ChildExit | undefined) => void>()

/** Starts a process with all signals as they are by default. @throws {SystemError} `ENOENT`, `EACCES` … */
export function spawnDirectly({ program, argv, env, stdio }: SpawnOptions): SpawnedProcess {
  // Before there is a child that may end.
  if (!process.listeners('SIGCHLD').includes(sweep)) process.on('SIGCHLD', sweep)
  const pid = new Int32Array(1)
  const actions = Buffer.alloc(structureBytes)
  succeed(initActions(actions), 'posix_spawn_file_actions_init')
  try {
    for (const [as, fd] of stdio.entries()) {
      succeed(addDup2(actions, fd, as), 'posix_spawn_file_actions_adddup2')
    }
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`)
    using args = vectorOf(argv)
    using environment = vectorOf(variables)
    attributes ??= defaultSignals()
    const failed = posixSpawn(pid, program, actions, attributes, args.bytes, environment.bytes)
    succeed(failed, 'spawn', program)
  } finally {
    destroyActions(actions)
  }
  return watched(pid[0] ?? 0)
}

let attributes: Uint8Array | undefined

function defaultSignals(): Uint8Array {
  const made = Buffer.alloc(structureBytes)
  succeed(initAttributes(made), 'posix_spawnattr_init')
  succeed(
    setFlags(made, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK),
    'posix_spawnattr_setflags',
  )
  succeed(setDefaults(made, Buffer.alloc(structureBytes, 0xff)), 'posix_spawnattr_setsigdefault')
  succeed(setMask(made, Buffer.alloc(structureBytes)), 'posix_spawnattr_setsigmask')
  return made
}

/** Unlike other functions these give their error number. */
function succeed(errno: number, call: string, path?: string): void {
  if (errno !== 0) throw systemError(errno, call, { path })
}

/** Strings as C has them; `bytes` is an array of pointers to them with a null at its end. */
function vectorOf(strings: readonly string[]): Disposable & { readonly bytes: Uint8Array } {
  const text = Buffer.from(strings.map((each) => `${each}\0`).join(''))
  const pointers = new BigUint64Array(strings.length + 1)
  const start = text.length > 0 ? addressOf(text) : 0n
  let at = 0
  for (const [n, each] of strings.entries()) {
    pointers[n] = start + BigInt(at)
    at += Buffer.byteLength(each) + 1
  }
  // `text` must outlive the call: it is held on to until then.
  const held: Argument[] = [text]
  const bytes = new Uint8Array(pointers.buffer)
  return { bytes, [Symbol.dispose]: () => void held.pop() }
}

function watched(pid: number): SpawnedProcess {
  const { promise, resolve } = Promise.withResolvers<ChildExit | undefined>()
  running.set(pid, resolve)
  return { pid, ended: promise }
}

function sweep(): void {
  for (const [pid, resolve] of running) {
    const exit = waitpid(pid, true)
    if (!exit && isThere(pid)) continue
    running.delete(pid)
    resolve(exit)
  }
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
