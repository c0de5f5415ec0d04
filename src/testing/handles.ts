import { readdirSync, readlinkSync } from 'node:fs'

/** What a process has open, as /proc names it; nothing when it is gone. */
export function handlesOf(pid: number | 'self'): string[] {
  const dir = `/proc/${pid}/fd`
  return namesIn(dir).flatMap((fd) => {
    try {
      return [readlinkSync(`${dir}/${fd}`)]
    } catch {
      // Closed meanwhile, as that of the directory itself.
      return []
    }
  })
}

function namesIn(dir: string): readonly string[] {
  try {
    return readdirSync(dir)
  } catch {
    return []
  }
}
