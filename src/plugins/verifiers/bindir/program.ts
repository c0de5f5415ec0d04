import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync } from 'node:fs'
import { Socket } from 'node:net'
import { basename } from 'node:path'

import type { Context } from '#core/context.ts'
import { pipe } from '#sys/fifo.ts'

/** How much is taken of what a program says on one stream; the rest is read and dropped. */
export const outputLimitBytes = 32 * 1024

/** What a program is asked: it is about an image, and `input` describes it. */
export interface Question {
  readonly args: readonly string[]
  readonly input: string
  readonly timeoutMs: number
}

/** How a program answered. */
export interface Answer {
  readonly exitCode: number
  /** Its standard output, trimmed and bounded. */
  readonly reason: string
}

/**
 * Runs a verifier to its end. It leads a process group: at the deadline all of it is killed, also
 * what keeps a stream open after the program itself has ended. Its streams are pipes, not Node's
 * sockets: a program may open `/dev/stdin`.
 *
 * @throws when it cannot be started, does not end in time, or is ended by a signal; the reason of
 * `ctx.signal`.
 */
export async function ask(ctx: Context, path: string, question: Question): Promise<Answer> {
  ctx.signal.throwIfAborted()
  using streams = new DisposableStack()
  const { child, input, output, errors } = start(streams, path, question.args)
  const said = collect(output)
  const complained = collect(errors)
  // A program need not read what it is told.
  input.on('error', () => undefined).end(question.input)
  const exit = exitOf(child)
  await bounded(ctx, child, question.timeoutMs, Promise.all([exit, said, complained]))
  logLines(ctx, basename(path), (await complained).text)
  const { text, truncated } = await said
  return { exitCode: await exit, reason: text.trim() + (truncated ? '(stdout truncated)' : '') }
}

interface Started {
  readonly child: ChildProcess
  readonly input: Socket
  readonly output: Socket
  readonly errors: Socket
}

function start(streams: DisposableStack, path: string, args: readonly string[]): Started {
  using theirs = new DisposableStack()
  const open = (ours: 'read' | 'write'): { readonly socket: Socket; readonly fd: number } => {
    const ends = pipe()
    const fd = ours === 'read' ? ends.write : ends.read
    theirs.defer(() => closeSync(fd))
    const isReader = ours === 'read'
    const socket = new Socket({ fd: ends[ours], readable: isReader, writable: !isReader })
    streams.defer(() => socket.destroy())
    return { socket, fd }
  }
  const [input, output, errors] = [open('write'), open('read'), open('read')]
  const child = spawn(path, args, { stdio: [input.fd, output.fd, errors.fd], detached: true })
  return { child, input: input.socket, output: output.socket, errors: errors.socket }
}

/** The exit code. @throws for a program that does not start, or that a signal ends. */
async function exitOf(child: ChildProcess): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  child.once('error', (err) => reject(new Error('starting process', { cause: err })))
  child.once('exit', (code, signal) => {
    if (code === null) reject(new Error(`waiting on command to exit: signal: ${signal}`))
    else resolve(code)
  })
  return await promise
}

/** Waits for `ended`; the group is killed when that takes too long, or nobody wants to know any more. */
async function bounded(
  ctx: Context,
  child: ChildProcess,
  ms: number,
  ended: Promise<unknown>,
): Promise<void> {
  const late = Promise.withResolvers<never>()
  const stop = (why: unknown): void => {
    killGroup(child)
    late.reject(why)
  }
  const onAbort = (): void => stop(ctx.signal.reason)
  ctx.signal.addEventListener('abort', onAbort, { once: true })
  using _timer = setTimeout(() => {
    stop(new Error(`no answer within per_verifier_timeout, ${ms} ms; it has been killed`))
  }, ms)
  try {
    await Promise.race([ended, late.promise])
  } catch (err) {
    ended.catch(() => undefined)
    throw err
  } finally {
    ctx.signal.removeEventListener('abort', onAbort)
  }
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // the whole group has ended
  }
}

/** What comes before the limit, when the stream has ended. */
async function collect(stream: Socket): Promise<{ text: string; truncated: boolean }> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const kept: Buffer[] = []
  let size = 0
  stream.on('data', (piece: Buffer) => {
    if (size < outputLimitBytes) kept.push(piece.subarray(0, outputLimitBytes - size))
    size += piece.length
  })
  stream.on('error', () => resolve()).on('close', () => resolve())
  await promise
  return { text: Buffer.concat(kept).toString(), truncated: size > outputLimitBytes }
}

function logLines(ctx: Context, program: string, text: string): void {
  const log = ctx.log.with({ image_verifier: program, stream: 'stderr' })
  for (const line of text.split('\n')) if (line !== '') log.debug(line)
}
