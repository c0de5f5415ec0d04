import { cpuUsage, memoryUsage, report, uptime } from 'node:process'

/**
 * What this process is doing and what it holds, for a person who wonders: where JavaScript is, what
 * the event loop waits for, its threads, its memory. The environment is left out, as it may hold
 * secrets. Taking it stops the thread for some milliseconds.
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
    ...reportSections(reported()),
  ]
  return `${sections.join('\n\n')}\n`
}

/**
 * A diagnostic report without the environment, and without the names of addresses: looking those up
 * would stop the thread until a server on the network has answered.
 */
function reported(): unknown {
  const excluded = ['excludeEnv', 'excludeNetwork'] as const
  const before = excluded.map((name) => [name, Reflect.get(report, name) === true] as const)
  try {
    for (const name of excluded) Reflect.set(report, name, true)
    return report.getReport()
  } finally {
    for (const [name, value] of before) Reflect.set(report, name, value)
  }
}

function reportSections(given: unknown): string[] {
  const stack = field(field(given, 'javascriptStack'), 'stack')
  const handles = list(field(given, 'libuv')).filter(
    (handle) => field(handle, 'is_active') === true,
  )
  const workers = list(field(given, 'workers'))
  return [
    `stack of the main thread:\n${indented(list(stack).map(String))}`,
    `open handles:\n${indented(handles.map(handleText))}`,
    `threads of JavaScript besides it: ${workers.length}\n${indented(
      workers.map((worker) => list(field(field(worker, 'javascriptStack'), 'stack')).join(' < ')),
    )}`.trimEnd(),
  ]
}

/** `tcp fd=21 localEndpoint={…}`: the type, and whatever a person can use. */
function handleText(handle: unknown): string {
  const shown = ['fd', 'localEndpoint', 'remoteEndpoint', 'pid', 'signal', 'filename'] as const
  const words = shown.flatMap((name) => {
    const value = field(handle, name)
    return value === undefined || value === null ? [] : [`${name}=${JSON.stringify(value)}`]
  })
  return [String(field(handle, 'type')), ...words].join(' ')
}

/** `3 Timeout`: each word once, with how often it came, most frequent first. */
function counted(words: readonly string[]): string[] {
  const counts = new Map<string, number>()
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1)
  return [...counts].toSorted(([, a], [, b]) => b - a).map(([word, count]) => `${count} ${word}`)
}

const indented = (lines: readonly string[]): string => lines.map((line) => `  ${line}`).join('\n')

const field = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined

const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
