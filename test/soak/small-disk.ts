import { execFile } from 'node:child_process'
import {
  closeSync,
  openSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { mkdir, rmdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'

import { isErrno } from '#sys/errno.ts'

const run = promisify(execFile)

/** What a small disk has, and how it is made. */
export const smallDisks = {
  ext4: { bytes: 48 << 20, mkfs: ['mkfs.ext4', '-q', '-m', '0', '-N', '4000'] },
  // Runs out of names long before it runs out of room.
  'ext4 with few inodes': { bytes: 64 << 20, mkfs: ['mkfs.ext4', '-q', '-m', '0', '-N', '700'] },
  tmpfs: { bytes: 24 << 20 },
} as const satisfies Readonly<Record<string, DiskKind>>

interface DiskKind {
  readonly bytes: number
  /** Without it, a file system in memory. */
  readonly mkfs?: readonly string[]
}

const piece = Buffer.alloc(1 << 20, 1)

/** A small file system, mounted below a directory, that can be filled up and made free again. */
export class SmallDisk implements AsyncDisposable {
  readonly path: string
  readonly #image: string
  readonly #ballast: string

  private constructor(path: string, image: string) {
    this.path = path
    this.#image = image
    this.#ballast = join(path, 'ballast')
  }

  static async make(dir: string, kind: keyof typeof smallDisks): Promise<SmallDisk> {
    const { bytes, mkfs }: DiskKind = smallDisks[kind]
    const path = join(dir, 'small')
    const image = `${path}.img`
    await mkdir(path)
    if (mkfs) {
      closeSync(openSync(image, 'w'))
      truncateSync(image, bytes)
      const [program = '', ...args] = mkfs
      await run(program, [...args, image])
      await mountImage(image, path)
    } else await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path])
    const disk = new SmallDisk(path, image)
    disk.empty()
    return disk
  }

  /** Bytes that are free. */
  get free(): number {
    const { bavail, bsize } = statfsSync(this.path)
    return bavail * bsize
  }

  /** Files that there may be yet. */
  get freeFiles(): number {
    return statfsSync(this.path).ffree
  }

  /** Leaves `bytes` free; 0 takes the last block. */
  fill(bytes: number): void {
    // It is there already: there may be no inode for it.
    const fd = openSync(this.#ballast, 'w')
    try {
      for (;;) {
        const left = this.free - bytes
        if (left <= 0 && bytes > 0) return
        writeSync(fd, piece, 0, Math.max(4096, Math.min(piece.length, left)))
      }
    } catch (err) {
      if (!isErrno(err, 'ENOSPC')) throw err
    } finally {
      closeSync(fd)
    }
  }

  /** Makes empty files until `files` more are possible. */
  fillFiles(files: number): void {
    for (let n = 0; this.freeFiles > files; n++) {
      closeSync(openSync(join(this.path, `file${n}`), 'w'))
    }
  }

  /** Takes away what filled it. */
  empty(): void {
    closeSync(openSync(this.#ballast, 'w'))
    for (let n = 0; ; n++) {
      try {
        rmSync(join(this.path, `file${n}`))
      } catch (err) {
        if (!isErrno(err, 'ENOENT')) throw err
        return
      }
    }
  }

  /** The file system (ext4) finds an error in itself, and takes no more writes. */
  async break(): Promise<void> {
    const { stdout } = await run('findmnt', ['-n', '-o', 'SOURCE', this.path])
    writeFileSync(`/sys/fs/ext4/${basename(stdout.trim())}/trigger_fs_error`, 'broken by a test')
  }

  /** Mounts it again, when nobody uses it. */
  async mend(): Promise<void> {
    await run('umount', [this.path])
    await mountImage(this.#image, this.path)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run('umount', [this.path])
    await rmdir(this.path)
  }
}

async function mountImage(image: string, path: string): Promise<void> {
  await run('mount', ['-o', 'loop,errors=remount-ro', image, path])
}
