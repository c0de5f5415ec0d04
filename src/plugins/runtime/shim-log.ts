import { Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

import type { Logger } from '#core/context.ts'
import { isErrno } from '#sys/errno.ts'
import { openFifo } from '#sys/fifo.ts'
import { mkfifo } from '#sys/node.ts'

import type { Bundle } from './bundle.ts'

const maxLine = 4096

/**
 * Makes the FIFO that a shim writes its messages to and passes them on, until disposed.
 *
 * It is opened for reading and writing: the shim's opening never waits, and its leaving is no end.
 * @throws {SystemError}
 */
export function openShimLog(bundle: Bundle, log: Logger): Disposable {
  const path = join(bundle.path, 'log')
  try {
    mkfifo(path, 0o700)
  } catch (err) {
    if (!isErrno(err, 'EEXIST')) throw err
  }
  const fd = openFifo(path, 'readwrite', { nonblock: true })
  const socket = new Socket({ fd, readable: true, writable: false })
  const { namespace, id } = bundle
  socket.on('error', (err) =>
    log.warn('cannot read the log of the shim', { namespace, id, error: err }),
  )
  socket.unref()
  const lines = createInterface({ input: socket, crlfDelay: Infinity })
  lines.on('line', (line) => say(log.with({ namespace }), id, line))
  return {
    [Symbol.dispose]() {
      lines.close()
      socket.destroy()
    },
  }
}

const levels: ReadonlyMap<string, 'debug' | 'info' | 'warn' | 'error'> = new Map([
  ['trace', 'debug'],
  ['debug', 'debug'],
  ['info', 'info'],
  ['warning', 'warn'],
  ['error', 'error'],
  ['fatal', 'error'],
  ['panic', 'error'],
])

/**
 * Passes a line on: `time="…" level=info msg="…" key=value`, as Go's shims write about their only
 * container, `id`; or JSON, in which the built-in host says itself whom a line is about.
 */
function say(log: Logger, id: string, line: string): void {
  if (line.trim() === '') return
  const entry = parseEntry(line)
  if (entry) {
    const { level, msg, time: _, ...fields } = entry
    log[levels.get(String(level)) ?? 'info'](String(msg), { component: 'shim', ...fields })
    return
  }
  const [, level = ''] = /\blevel=(\w+)/.exec(line) ?? []
  log[levels.get(level) ?? 'info']('shim', { id, line: line.slice(0, maxLine) })
}

function parseEntry(line: string): Readonly<Record<string, unknown>> | undefined {
  if (!line.startsWith('{') || line.length > maxLine) return undefined
  try {
    const entry: Record<string, unknown> = JSON.parse(line)
    return 'msg' in entry ? entry : undefined
  } catch {
    // Two shims have written at once, or something else has.
    return undefined
  }
}
