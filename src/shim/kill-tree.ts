import { readFileSync } from 'node:fs'

import { isErrno } from '#sys/errno.ts'

/** Kills a process and what it has started, as far as that is still below it. */
export function killTree(pid: number): void {
  // The parent first: it would start others.
  const children = childrenOf(pid)
  kill(pid)
  for (const child of children) killTree(child)
}

function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    return text.split(' ').filter(Boolean).map(Number)
  } catch {
    // It has ended, or the kernel has no such file.
    return []
  }
}

/** Kills a process, which may have ended. */
export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (err) {
    if (!isErrno(err, 'ESRCH')) throw err
  }
}
