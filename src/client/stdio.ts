import { execFile } from 'node:child_process'
import { closeSync, constants, open } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'

import type { Stdio } from '#core/runtime/runtime.ts'
import { type AbortOptions, raceAbort } from '#lib/async/mutex.ts'

const run = promisify(execFile)
const openFd = promisify(open)

/** What to do with the streams of a process. Streams that nobody asks for are not opened. */
export interface IoOptions {
  /** What the process reads; nothing without it. */
  readonly stdin?: string | Uint8Array | AsyncIterable<Uint8Array>
  /** Gets what the process writes, as it comes. */
  readonly stdout?: (chunk: Uint8Array) => void
  readonly stderr?: (chunk: Uint8Array) => void
  /**
   * Where the output goes instead: `json-file:///path`, `file:///path`,
   * `binary:///path?argument=value`.
   */
  readonly logUri?: string
}

/** How long output may take to end once its process has: a child of it may keep a stream open. */
const drainMs = 5000

type StreamName = 'stdin' | 'stdout' | 'stderr'

/**
 * The streams of one process: a FIFO for each, in a directory of their own.
 *
 *   open()  makes the FIFOs and reads the outputs, before the shim knows of them
 *   feed()  writes the input, once the shim has opened its end
 *   drain() waits for the end of the outputs, once the process has ended
 *
 * Disposal closes what is open and removes the FIFOs.
 */
export class ProcessIo implements AsyncDisposable {
  /** What the daemon is told. */
  readonly stdio: Stdio
  readonly #input: { readonly source: Source; readonly socket: Socket } | undefined
  readonly #outputs: Outputs
  readonly #scope: AsyncDisposableStack

  private constructor(
    stdio: Stdio,
    input: { readonly source: Source; readonly socket: Socket } | undefined,
    outputs: Outputs,
    scope: AsyncDisposableStack,
  ) {
    this.stdio = stdio
    this.#input = input
    this.#outputs = outputs
    this.#scope = scope
  }

  /** @throws the system's errors; what `mkfifo` says. */
  static async open(
    baseDir: string,
    io: IoOptions & { readonly terminal?: boolean },
    { signal }: AbortOptions = {},
  ): Promise<ProcessIo> {
    const { stdin, logUri, terminal = false } = io
    const { stdout, stderr } = outputsOf(io)
    const streams = { stdin, stdout, stderr }
    const names = (['stdin', 'stdout', 'stderr'] as const).filter((n) => streams[n] !== undefined)

    await using scope = new AsyncDisposableStack()
    const paths = await makeFifos(scope, baseDir, names, signal)
    const ended: Promise<void>[] = []
    if (stdout) ended.push((await readFifo(scope, paths.stdout, stdout)).ended)
    const kept = scope.use(new DisposableStack())
    // The host alone writes what a terminal shows: another may take its place, and is no end of it.
    if (stdout && terminal) await keepWriter(kept, paths.stdout)
    if (stderr) ended.push((await readFifo(scope, paths.stderr, stderr)).ended)
    const input =
      stdin === undefined
        ? undefined
        : { source: stdin, socket: await openInput(scope, paths.stdin) }
    const log = logUri === undefined ? {} : { stdout: logUri, stderr: terminal ? '' : logUri }
    return new ProcessIo({ ...paths, ...log, terminal }, input, { ended, kept }, scope.move())
  }

  /** Whether `feed` has something to write. */
  get hasInput(): boolean {
    return this.#input !== undefined
  }

  /** Writes the input to its end; ends early when the process or this object does. */
  async feed(): Promise<void> {
    if (!this.#input) return
    const { source, socket } = this.#input
    for await (const chunk of chunksOf(source)) {
      if (socket.destroyed) return
      await new Promise<void>((resolve) => socket.write(chunk, () => resolve()))
    }
    socket.destroy()
  }

  /** Waits until the outputs have ended, or five seconds have passed. @throws what a callback threw. */
  async drain({ signal }: AbortOptions = {}): Promise<void> {
    const late = AbortSignal.timeout(drainMs)
    this.#outputs.kept.dispose()
    const ended = Promise.all(this.#outputs.ended)
    try {
      await raceAbort(ended, signal ? AbortSignal.any([signal, late]) : late)
    } catch (err) {
      if (err !== late.reason) throw err
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope.disposeAsync()
  }
}

/** What is read, until each ends, and what keeps them from ending before the process does. */
interface Outputs {
  readonly ended: readonly Promise<void>[]
  readonly kept: DisposableStack
}

type Source = NonNullable<IoOptions['stdin']>

/**
 * Which outputs to read. Go's shims want every stream or none: one that nobody asked for is read and
 * dropped. With a terminal there is no second output.
 */
function outputsOf(
  io: IoOptions & { readonly terminal?: boolean },
): Pick<IoOptions, 'stdout' | 'stderr'> {
  const { stdin, stdout, stderr, logUri, terminal } = io
  const nobodyAsked = stdin === undefined && !stdout && !stderr && !terminal
  if (logUri !== undefined || nobodyAsked) return {}
  return { stdout: stdout ?? drop, ...(!terminal && { stderr: stderr ?? drop }) }
}

const drop = (): void => {}

/** Makes the FIFOs of `names`; streams without one have an empty path. */
async function makeFifos(
  scope: AsyncDisposableStack,
  baseDir: string,
  names: readonly StreamName[],
  signal: AbortSignal | undefined,
): Promise<Record<StreamName, string>> {
  const paths = { stdin: '', stdout: '', stderr: '' }
  if (names.length === 0) return paths
  const dir = scope.use(await mkdtempDisposable(join(baseDir, 'wharf-io-')))
  for (const name of names) paths[name] = join(dir.path, name)
  const made = names.map((name) => paths[name])
  await run('mkfifo', ['-m', '600', '--', ...made], signal ? { signal } : {})
  return paths
}

/** Reads a FIFO to its end. Reading begins at once; the promise inside settles at the end. */
async function readFifo(
  scope: AsyncDisposableStack,
  path: string,
  take: (chunk: Uint8Array) => void,
): Promise<{ readonly ended: Promise<void> }> {
  // Without O_NONBLOCK this would wait for a writer and hold a thread. A FIFO that has had no writer
  // is not readable, so there is no end before the beginning.
  const fd = await openFd(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const socket = toSocket(scope, fd, { readable: true, writable: false })
  const ended = readAll(socket, take)
  // Who drains is told; until then nobody listens.
  ended.catch(() => {})
  return { ended }
}

/** A writer that writes nothing. There is a reader. */
async function keepWriter(scope: DisposableStack, path: string): Promise<void> {
  const fd = await openFd(path, constants.O_WRONLY | constants.O_NONBLOCK)
  scope.defer(() => closeSync(fd))
}

async function readAll(socket: Socket, take: (chunk: Uint8Array) => void): Promise<void> {
  for await (const chunk of socket) if (chunk instanceof Uint8Array) take(chunk)
}

/**
 * Opens a FIFO to write to. It is opened for both directions, so that this works before the shim has
 * opened its end, and so that a shim that waits for a writer finds one.
 */
async function openInput(scope: AsyncDisposableStack, path: string): Promise<Socket> {
  const fd = await openFd(path, constants.O_RDWR | constants.O_NONBLOCK)
  const socket = toSocket(scope, fd, { readable: false, writable: true })
  // A reader that goes away is no failure: the process did not want the rest.
  socket.on('error', () => {})
  return socket
}

/** Takes over `fd`, also when it cannot be used. */
function toSocket(
  scope: AsyncDisposableStack,
  fd: number,
  direction: { readonly readable: boolean; readonly writable: boolean },
): Socket {
  try {
    return scope.adopt(new Socket({ fd, ...direction }), (socket) => void socket.destroy())
  } catch (err) {
    closeSync(fd)
    throw err
  }
}

async function* chunksOf(source: Source): AsyncGenerator<Uint8Array, void, undefined> {
  if (typeof source === 'string') yield Buffer.from(source)
  else if (source instanceof Uint8Array) yield source
  else yield* source
}
