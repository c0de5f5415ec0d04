import { closeSync } from 'node:fs'
import { parentPort as port } from 'node:worker_threads'

import { codeOf, describe } from '#lib/errors/errors.ts'

import { LogCopy } from './log-copy.ts'
import type { Reply, Request } from './messages.ts'

/*
 * The thread that writes the logs of all containers of a host: neither a slow disk nor a container
 * that writes a lot keeps the host from its calls.
 */

const copies = new Map<number, LogCopy>()

const say = (reply: Reply): void => port?.postMessage(reply, [])

function open({ key, target, fds }: Extract<Request, { kind: 'open' }>): void {
  try {
    const copy = new LogCopy(target, fds, {
      onLost: (error) => say({ kind: 'lost', key, error }),
      onResumed: (lines) => say({ kind: 'resumed', key, lines }),
      onEnd: () => {
        copies.delete(key)
        say({ kind: 'ended', key })
      },
    })
    copies.set(key, copy)
    say({ kind: 'opened', key })
  } catch (err) {
    for (const fd of fds) closeSync(fd)
    say({ kind: 'refused', key, code: codeOf(err), error: describe(err) })
  }
}

port?.on('message', (request: Request) => {
  if (request.kind === 'open') open(request)
  else copies.get(request.key)?.[Symbol.dispose]()
})
