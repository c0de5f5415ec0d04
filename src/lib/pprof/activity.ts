import { readFileSync, readdirSync } from 'node:fs'
import { Server, Socket } from 'node:net'
import { cpuUsage, memoryUsage, uptime } from 'node:process'

/**
 * What this process is doing and what it holds, for a person who wonders: what the event loop waits
 * for, open handles, and where in the kernel each thread is, which shows a disk that hangs.
 *
 * It waits for nothing, neither for other threads nor for the network (as Node's own diagnostic
 * report does), so that it can be taken of a process that is in trouble. The environment is not in
 * it, as that may hold secrets.
 */
export function activity(): string {
  const { user, system } = cpuUsage()
  const { rss, heapUsed, heapTotal, external } = memoryUsage()
  const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`
  const sections = [
    `process ${process.pid}, up for ${uptime().toFixed(1)} s, Node ${process.version}`,
    `cpu: user ${(user / 1e6).toFixed(2)} s, system ${(system / 1e6).toFixed(2)} s`,
    `memory: ${mib(rss)} resident, heap ${mib(heapUsed)} of ${mib(heapTotal)}, external ${mib(external)}`,
    `waiting for:\n${indented(counted(process.getActiveResourcesInfo()))}`,
    `open handles:\n${indented(activeHandles().map(handleText).toSorted())}`,
    `threads:\n${indented(threads())}`,
  ]
  return `${sections.join('\n\n')}\n`
}

/** What keeps the event loop alive. Node has no documented way to ask for more than the names. */
function activeHandles(): readonly unknown[] {
  const ask: unknown = Reflect.get(process, '_getActiveHandles')
  const handles: unknown = typeof ask === 'function' ? ask.call(process) : []
  return Array.isArray(handles) ? handles : []
}

function handleText(handle: unknown): string {
  if (handle instanceof Server) return `listener ${JSON.stringify(handle.address())}`
  if (handle instanceof Socket) return socketText(handle)
  if (typeof handle !== 'object' || handle === null) return typeof handle
  // A child process, whose class is not loaded for this.
  if ('spawnfile' in handle && 'pid' in handle)
    return `child ${String(handle.pid)} ${String(handle.spawnfile)}`
  return handle.constructor.name
}

function socketText({ remoteAddress, remotePort, bytesRead, bytesWritten }: Socket): string {
  const peer = remoteAddress === undefined ? '' : ` to ${remoteAddress}:${remotePort}`
  return `socket${peer}, ${bytesRead} bytes read, ${bytesWritten} written`
}

/** `123 libuv-worker D in folio_wait_bit < …`: id, name, state (proc(5)) and kernel functions. */
function threads(): string[] {
  return readdirSync('/proc/self/task').map((id) => {
    const read = (name: string): string => readIfAllowed(`/proc/self/task/${id}/${name}`)
    const state = /\) (\S)/.exec(read('stat'))?.[1] ?? '?'
    const stack = read('stack').matchAll(/^\[<.*>\] (\w+)/gm)
    const functions = [...stack].map(([, name]) => name).join(' < ') || read('wchan')
    const where = functions === '' || functions === '0' ? '' : ` in ${functions}`
    return `${id} ${read('comm').trim()} ${state}${where}`
  })
}

/** Kernel stacks are for root, and not there in every kernel; a thread may have ended. */
function readIfAllowed(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** `3 Timeout`: each word once, with how often it came, most frequent first. */
function counted(words: readonly string[]): string[] {
  const counts = new Map<string, number>()
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1)
  return [...counts].toSorted(([, a], [, b]) => b - a).map(([word, count]) => `${count} ${word}`)
}

const indented = (lines: readonly string[]): string => lines.map((line) => `  ${line}`).join('\n')
