import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import type { Subject } from './row.ts'

/** The process that serves a container: of Go's shims it has the id, our hosts have their socket. */
export function shimOf({ daemon, namespace, contender }: Subject, id: string): number {
  const bundle = join(daemon.state, 'io.containerd.runtime.v2.task', namespace, id)
  const socket = (): string => readFileSync(join(bundle, 'address'), 'utf8').slice('unix://'.length)
  const word = contender.containerd ? `\0-id\0${id}\0` : `\0-socket\0${socket()}\0`
  const pid = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .find((name) => {
      const line = commandLine(name)
      return line.includes(daemon.address) && line.includes(word)
    })
  if (pid === undefined) throw new Error(`no shim serves ${id}`)
  return Number(pid)
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    // It has ended meanwhile.
    return ''
  }
}
