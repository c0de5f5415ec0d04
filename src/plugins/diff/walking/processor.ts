import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { Socket } from 'node:net'

import { pipe } from '#sys/fifo.ts'

import type { ProcessorStep } from './jobs.ts'

/** How much of what a program complains is kept: the end of it. */
const stderrBytes = 4096

/**
 * A stream processor that runs. Its protocol, from upstream `core/diff/stream_unix.go`:
 *
 *     fd 0  the layer                         fd 2  why it failed, as text
 *     fd 1  the layer it makes                fd 3  its payload, a `google.protobuf.Any`, if any
 *
 * `STREAM_PROCESSOR_MEDIATYPE` says what it is given. These are pipes, not Node's sockets: a program
 * may open `/dev/stdin` or `/dev/fd/3`. It leads a group, which is killed with it.
 */
export class Processor implements Disposable {
  readonly id: string
  /** Its standard output, for the next program or for us, who close it. */
  readonly output: number
  /** Settles when it has ended, well or not. */
  readonly ended: Promise<void>
  readonly #child: ChildProcess
  #killed = false
  #complaint = Buffer.alloc(0)

  /** Starts it with `input` as its standard input, which is closed here. `onFailure` hears why it ended. */
  constructor(step: ProcessorStep, input: number, onFailure: (err: Error) => void) {
    this.id = step.id
    using undo = new DisposableStack()
    using given = new DisposableStack()
    given.defer(() => closeSync(input))
    const output = pipe()
    undo.defer(() => closeSync(output.read))
    given.defer(() => closeSync(output.write))
    const payload = step.payload && payloadPipe(step.payload)
    if (payload) given.defer(() => closeSync(payload))
    this.#child = spawn(step.path, step.args, {
      stdio: [input, output.write, 'pipe', ...(payload === undefined ? [] : [payload])],
      env: environmentOf(step),
      detached: true,
    })
    this.#child.stderr?.on('data', (piece: Buffer) => {
      this.#complaint = Buffer.concat([this.#complaint, piece]).subarray(-stderrBytes)
    })
    this.output = output.read
    this.ended = this.#end(step, onFailure)
    undo.move()
  }

  /** Kills it and what it has started. */
  [Symbol.dispose](): void {
    const { pid } = this.#child
    this.#killed = true
    this.#child.stderr?.destroy()
    if (pid === undefined) return
    try {
      process.kill(-pid, 'SIGKILL')
    } catch {
      // the whole group has ended
    }
  }

  async #end(step: ProcessorStep, onFailure: (err: Error) => void): Promise<void> {
    const closed = Promise.withResolvers<Error | undefined>()
    this.#child.once('error', (err) => closed.resolve(startError(step, err)))
    this.#child.once('close', (code, signal) => {
      // Whoever reads no more, or kills, knows why it ended.
      const ours = this.#killed || signal === 'SIGPIPE'
      if (code === 0 || ours) closed.resolve(undefined)
      else closed.resolve(named(step.id, this.#reason(code, signal)))
    })
    const failure = await closed.promise
    if (failure) onFailure(failure)
  }

  #reason(code: number | null, signal: NodeJS.Signals | null): string {
    const how = code === null ? `killed by ${signal}` : `exit status ${code}`
    const complaint = this.#complaint.toString().trim()
    return complaint === '' ? how : `${how}: ${complaint}`
  }
}

/** An error of the stream processor `id`. */
export const named = (id: string, reason: string): Error =>
  new Error(`stream processor ${JSON.stringify(id)}: ${reason}`)

/** In Go's words. */
function startError({ id, path }: ProcessorStep, err: NodeJS.ErrnoException): Error {
  if (err.code !== 'ENOENT') return named(id, `fork/exec ${path}: ${err.code ?? err.message}`)
  return named(
    id,
    path.includes('/')
      ? `fork/exec ${path}: no such file or directory`
      : `exec: ${JSON.stringify(path)}: executable file not found in $PATH`,
  )
}

function environmentOf({ env, mediaType }: ProcessorStep): NodeJS.ProcessEnv {
  const pairs = env.map((line): [string, string] => {
    const at = line.indexOf('=')
    return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)]
  })
  return { ...process.env, ...Object.fromEntries(pairs), STREAM_PROCESSOR_MEDIATYPE: mediaType }
}

/** The reading end of a pipe that gives `payload`. */
function payloadPipe(payload: Uint8Array): number {
  const { read, write } = pipe()
  const socket = new Socket({ fd: write, readable: false, writable: true })
  // A program need not read it.
  socket.on('error', () => undefined)
  socket.end(payload)
  return read
}

/** Writes `pieces` into `fd`, and closes it, until they end or nobody reads them. */
export async function feed(pieces: AsyncIterable<Uint8Array>, fd: number): Promise<void> {
  const socket = new Socket({ fd, readable: false, writable: true })
  const gone = Promise.withResolvers<void>()
  socket.on('error', () => gone.resolve()).on('close', () => gone.resolve())
  for await (const piece of pieces) {
    if (socket.destroyed) break
    if (!socket.write(piece)) await Promise.race([once(socket, 'drain'), gone.promise])
  }
  socket.end()
  await gone.promise
}
