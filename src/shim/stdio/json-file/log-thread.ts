import { Worker } from 'node:worker_threads'

import type { Logger } from '#core/context.ts'
import { parseJsonFileUri } from '#core/logs/json-file.ts'
import { CodedError, describe } from '#lib/errors/errors.ts'
import { entryUrl } from '#lib/release/release.ts'
import type { OutputSink } from '#shim/stdio/sink.ts'

import type { Outputs, Reply, Request } from './messages.ts'

interface Waiting {
  readonly log: Logger
  readonly opened: PromiseWithResolvers<void>
  readonly ended: PromiseWithResolvers<void>
}

/** Objects of the thread live for one chunk. */
const heapMb = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 2 }

/** The thread that writes the logs of a host; it is started with the first one, and stays. */
class LogThread {
  readonly #logs = new Map<number, Waiting>()
  #worker: Worker | undefined
  #lastKey = 0

  /**
   * Copies what comes from `fds` into the log that `uri` names; the thread closes them, also when it
   * cannot.
   *
   * @throws `invalid_argument` for a bad URI; what keeps the log from being written.
   */
  async open(uri: string, fds: Outputs, log: Logger): Promise<OutputSink> {
    const target = parseJsonFileUri(uri)
    this.#worker ??= this.#start()
    this.#lastKey += 1
    const key = this.#lastKey
    const [opened, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    this.#logs.set(key, { log, opened, ended })
    this.#send({ kind: 'open', key, target, fds })
    await opened.promise
    return { ended: ended.promise, close: () => this.#send({ kind: 'close', key }) }
  }

  #send(request: Request): void {
    this.#worker?.postMessage(request, [])
  }

  #start(): Worker {
    const worker = new Worker(entryUrl('shim/stdio/json-file/worker'), {
      name: 'wharf-logs',
      // Its descriptors come from the host.
      trackUnmanagedFds: false,
      resourceLimits: heapMb,
    })
    worker.unref()
    worker.on('message', (reply: Reply) => this.#onReply(reply))
    worker.on('error', (err) => this.#onEnd(worker, err))
    worker.on('exit', () => this.#onEnd(worker, new Error('the thread that writes logs has ended')))
    return worker
  }

  /** Its pipes are closed: the processes that write to them are told by SIGPIPE. */
  #onEnd(worker: Worker, err: unknown): void {
    if (this.#worker !== worker) return
    this.#worker = undefined
    for (const { log, opened, ended } of this.#logs.values()) {
      log.error('log is written no more', { error: describe(err) })
      opened.reject(err)
      ended.resolve()
    }
    this.#logs.clear()
  }

  #onReply(reply: Reply): void {
    const waiting = this.#logs.get(reply.key)
    if (!waiting) return
    const { log, opened, ended } = waiting
    switch (reply.kind) {
      case 'opened':
        return opened.resolve()
      case 'refused':
        opened.reject(errorOf(reply))
        break
      case 'lost':
        return log.error('output is not logged', { error: reply.error })
      case 'resumed':
        return log.warn('output is logged again', { lost: reply.lines })
      case 'ended':
        ended.resolve()
        break
    }
    this.#logs.delete(reply.key)
  }
}

const errorOf = ({ code, error }: Extract<Reply, { kind: 'refused' }>): Error =>
  code === undefined ? new Error(error) : new CodedError(code, error)

/** Of this process. */
const thread = new LogThread()

/** The built-in log driver: see `#core/logs/json-file.ts`. @throws as `LogThread.open` does. */
export const openJsonFile = async (uri: string, fds: Outputs, log: Logger): Promise<OutputSink> =>
  await thread.open(uri, fds, log)
