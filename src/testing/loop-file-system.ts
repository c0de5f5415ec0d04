import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { delimiter, join } from 'node:path'
import { tmpdir } from 'node:os'

import { mountAll, unmountRecursive } from '#sys/mount.ts'

/** A file system of one's own. */
export interface LoopFileSystem extends Disposable {
  /** Where it is mounted. */
  readonly path: string
}

export interface LoopFileSystemOptions {
  readonly type: string
  /** In MiB; only what is written takes room. */
  readonly size: number
  /** Of `mkfs.<type>`. */
  readonly args?: readonly string[]
  /** Of the mount. */
  readonly options?: readonly string[]
}

/**
 * Makes a file system in a file and mounts it. Disposing it takes all of it away.
 *
 * @returns why there is none, where this machine lacks what it takes.
 */
export function loopFileSystem(given: LoopFileSystemOptions): LoopFileSystem | string {
  const { type, size, args = [], options = [] } = given
  if (process.getuid?.() !== 0) return 'needs root'
  const kernel = fs.readFileSync('/proc/filesystems', 'utf8')
  if (!kernel.split(/\s+/).includes(type)) return `the kernel has no ${type}`
  if (!fs.existsSync('/dev/loop-control')) return 'no loop devices'
  const dir = fs.mkdtempSync(join(tmpdir(), `${type}-`))
  const made = {
    path: join(dir, 'mounted'),
    [Symbol.dispose]: () => {
      unmountRecursive(dir)
      fs.rmSync(dir, { recursive: true })
    },
  }
  try {
    fs.mkdirSync(made.path)
    const file = join(dir, 'file')
    fs.closeSync(fs.openSync(file, 'w'))
    fs.truncateSync(file, size << 20)
    execFileSync(`mkfs.${type}`, [...args, file], { stdio: 'pipe', env: withSystemPrograms })
    mountAll([{ type, source: file, options: ['loop', ...options] }], made.path)
    return made
  } catch (err) {
    made[Symbol.dispose]()
    return `no ${type} can be made here: ${err instanceof Error ? err.message : String(err)}`
  }
}

const withSystemPrograms = {
  ...process.env,
  PATH: [process.env['PATH'], '/usr/sbin', '/sbin'].join(delimiter),
}
