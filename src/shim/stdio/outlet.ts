import { closeSync, createWriteStream, fstatSync } from 'node:fs'
import { Socket } from 'node:net'
import { Writable } from 'node:stream'

import type { Logger } from '#core/context.ts'
import { setNonblock } from '#sys/fifo.ts'

import { type Stream, openLogFile, openOutput, openPipe } from './fifo.ts'
import { isSinkUri, openSink } from './sink.ts'
import type { ProcessOwner } from './stdio.ts'
import { parseTarget } from './target.ts'

/** Where what a terminal shows is written to. */
export interface Outlet extends Disposable {
  readonly writer: Writable
  /** Resolves when everything written has arrived, once `writer` has ended. */
  readonly arrived: Promise<void>
}

/** Opens a FIFO, a log file, a logger or a log. @throws {SystemError}; `invalid_argument`; why nobody logs. */
export async function openOutlet(uri: string, owner: ProcessOwner, log: Logger): Promise<Outlet> {
  if (uri === '') return toWriter(new Writable({ write: (_chunk, _encoding, next) => next() }))
  if (isSinkUri(uri)) return await toSink(uri, owner, log)
  const { scheme, path } = parseTarget(uri)
  return toStream(scheme === 'file' ? openLogFile(path) : openOutput(path, { nonblock: true }))
}

const toWriter = (writer: Writable): Outlet => ({
  writer,
  arrived: Promise.resolve(),
  [Symbol.dispose]: () => void writer.destroy(),
})

function toStream({ fd, keep }: Stream): Outlet {
  using scope = new DisposableStack()
  if (keep !== undefined) scope.defer(() => closeSync(keep))
  const writer = openWriter(fd)
  scope.defer(() => writer.destroy())
  const held = scope.move()
  return { writer, arrived: Promise.resolve(), [Symbol.dispose]: () => held.dispose() }
}

/** A terminal has no stderr: that pipe ends at once. */
async function toSink(uri: string, owner: ProcessOwner, log: Logger): Promise<Outlet> {
  using scope = new DisposableStack()
  using readers = new DisposableStack()
  using writers = new DisposableStack()
  const out = openPipe(readers, writers)
  setNonblock(out.write, true)
  const writer = openWriter(out.write)
  writers.move()
  scope.defer(() => writer.destroy())
  using ends = new DisposableStack()
  const err = openPipe(readers, ends)
  // They are the sink's from here on.
  readers.move()
  const sink = await openSink(uri, owner, [out.read, err.read], log)
  scope.defer(() => sink.close())
  const held = scope.move()
  return { writer, arrived: sink.ended, [Symbol.dispose]: () => held.dispose() }
}

const openWriter = (fd: number): Writable =>
  fstatSync(fd).isFIFO()
    ? new Socket({ fd, readable: false, writable: true })
    : createWriteStream('', { fd })
