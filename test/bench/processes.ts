import { readFile, writeFile } from 'node:fs/promises'

/** Memory of a process, bytes. */
export interface Memory {
  /** What it has in memory, shared pages in full. */
  readonly rss: number
  /** Its share: a page that n processes have counts a nth. */
  readonly pss: number
}

/** What a process holds in memory now. @throws ENOENT when it has ended. */
export async function memoryOf(pid: number): Promise<Memory> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8')
  return { rss: kilobytesIn(text, 'Rss') * 1024, pss: kilobytesIn(text, 'Pss') * 1024 }
}

function kilobytesIn(text: string, name: string): number {
  const found = text.match(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm'))?.[1]
  if (found === undefined) throw new Error(`no ${name} in:\n${text}`)
  return Number(found)
}

/** Lets the kernel begin anew with the most that a process has held. */
export async function forgetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5')
}

/** The most that a process has held in memory since then, bytes of RSS. */
export async function peakOf(pid: number): Promise<number> {
  return kilobytesIn(await readFile(`/proc/${pid}/status`, 'utf8'), 'VmHWM') * 1024
}

/** The parent of a process. @throws ENOENT when it has ended. */
export async function parentOf(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(text.match(/^PPid:\s+(\d+)$/m)?.[1])
}

/** 10^6 bytes, the unit of memory in the table. */
export const megabytes = (bytes: number): number => bytes / 1e6
