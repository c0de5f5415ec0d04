import { readFileSync } from 'node:fs'

import { fromBytes, toBytes } from '#lib/bytes/byte-string.ts'

/** One line of /proc/PID/mountinfo, see proc_pid_mountinfo(5). */
export interface MountInfo {
  readonly id: number
  readonly parentId: number
  /** The device, as `major:minor`. */
  readonly device: string
  /** What part of the file system is mounted. */
  readonly root: string
  readonly mountPoint: string
  readonly options: readonly string[]
  /** Propagation: `shared:7`, `master:3`, `unbindable`. */
  readonly optional: readonly string[]
  readonly type: string
  readonly source: string
  readonly superOptions: readonly string[]
}

/** The mounts of this process, or of `pid`, in the order they were made. */
export function mountInfo(pid: number | 'self' = 'self'): readonly MountInfo[] {
  return parseMountInfo(fromBytes(readFileSync(`/proc/${pid}/mountinfo`)))
}

/** Parses the text of mountinfo; lines it cannot read are left out. */
export function parseMountInfo(text: string): readonly MountInfo[] {
  return text.split('\n').flatMap((line) => parseLine(line) ?? [])
}

/** 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue */
function parseLine(line: string): MountInfo | undefined {
  const fields = line.split(' ')
  const dash = fields.indexOf('-', 6)
  const [id, parentId, device, root, mountPoint, options] = fields
  if (dash < 0 || !device || !root || !mountPoint || !options) return undefined
  return {
    id: Number(id),
    parentId: Number(parentId),
    device,
    root: unescapeField(root),
    mountPoint: unescapeField(mountPoint),
    options: options.split(','),
    optional: fields.slice(6, dash),
    type: unescapeField(fields[dash + 1] ?? ''),
    source: unescapeField(fields[dash + 2] ?? ''),
    superOptions: unescapeField(fields[dash + 3] ?? '').split(','),
  }
}

/** The kernel writes space, tab, newline and backslash as three octal digits: `\040`. */
function unescapeField(field: string): string {
  if (!field.includes('\\')) return field
  const bytes = Buffer.from(toBytes(field)).toString('latin1')
  const plain = bytes.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  )
  return fromBytes(Buffer.from(plain, 'latin1'))
}
