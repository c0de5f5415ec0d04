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
  const shimLog = log.with({ namespace: bundle.namespace, id: bundle.id })
  socket.on('error', (err) => shimLog.warn('cannot read the log of the shim', { error: err }))
  socket.unref()
  const lines = createInterface({ input: socket, crlfDelay: Infinity })
  lines.on('line', (line) => say(shimLog, line))
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

/** Shims write logrus text: `time="…" level=info msg="…" key=value`. */
function say(log: Logger, line: string): void {
  if (line.trim() === '') return
  const [, level = ''] = /\blevel=(\w+)/.exec(line) ?? []
  log[levels.get(level) ?? 'info']('shim', { line: line.slice(0, maxLine) })
}
