import { execFile } from 'node:child_process'
import { mkdir, open, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/*
 * A disk whose power can be cut, as often as one likes, while it goes on:
 *
 *     <dir>/below.img      a file; XFS, mounted by a loop device at <dir>/below
 *     below/disk.img       the disk: a file there; the file system under test, mounted at <dir>/disk
 *     below/cut-1.img      what was on the disk at one moment: a clone of that file's blocks
 *
 * XFS lets nobody write to a file while it clones it, so that a cut has every write that the disk
 * had taken by then, and nothing of later ones. What was only in the page cache of the file system
 * under test is lost, as with the power.
 */

/** A file system, how it is made, and how it is mounted: some of them take power cuts ill. */
interface FileSystem {
  readonly mkfs: readonly string[]
  readonly options: readonly string[]
}

const ext4 = ['mkfs.ext4', '-q', '-E', 'lazy_itable_init=1,nodiscard']

/** What a disk can have. The second keeps files empty that were renamed and not flushed. */
export const fileSystems: readonly FileSystem[] = [
  { mkfs: ext4, options: [] },
  { mkfs: ext4, options: ['data=writeback', 'noauto_da_alloc'] },
  // A clone has the identity of what it was made from.
  { mkfs: ['mkfs.xfs', '-q', '-K'], options: ['nouuid'] },
]

const diskBytes = 700 * 2 ** 20
const belowBytes = 8 * 2 ** 30

/** A mounted disk. */
export class Disk implements AsyncDisposable {
  readonly path: string
  readonly #below: string
  readonly #image: string
  readonly #fs: FileSystem
  readonly #owned: AsyncDisposableStack

  private constructor(paths: DiskPaths, fs: FileSystem, owned: AsyncDisposableStack) {
    this.path = paths.path
    this.#below = paths.below
    this.#image = paths.image
    this.#fs = fs
    this.#owned = owned
  }

  /** Makes one in `dir`. */
  static async make(dir: string, fs: FileSystem): Promise<Disk> {
    await using undo = new AsyncDisposableStack()
    const below = join(dir, 'below')
    const file = `${below}.img`
    await sparse(file, belowBytes)
    await run('mkfs.xfs', ['-q', '-K', '-m', 'reflink=1', file])
    undo.use(await mounted(file, below, []))
    const image = join(below, 'disk.img')
    await sparse(image, diskBytes)
    const [program = '', ...args] = fs.mkfs
    await run(program, [...args, image])
    const path = join(dir, 'disk')
    undo.use(await mounted(image, path, fs.options))
    return new Disk({ path, below, image }, fs, undo.move())
  }

  /**
   * What is left when the power goes now: another disk, mounted beside this one, whose file system
   * has repaired itself as it does after that.
   */
  async cut(name: string): Promise<Disk> {
    await using undo = new AsyncDisposableStack()
    const image = join(this.#below, `${name}.img`)
    await run('cp', ['--reflink=always', this.#image, image])
    undo.defer(async () => void (await run('rm', [image])))
    const path = `${this.path}-${name}`
    undo.use(await mounted(image, path, this.#fs.options))
    return new Disk({ path, below: this.#below, image }, this.#fs, undo.move())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync()
  }
}

interface DiskPaths {
  readonly path: string
  readonly below: string
  readonly image: string
}

async function sparse(path: string, bytes: number): Promise<void> {
  await (await open(path, 'w')).close()
  await truncate(path, bytes)
}

async function mounted(
  image: string,
  path: string,
  options: readonly string[],
): Promise<AsyncDisposable> {
  await mkdir(path)
  await run('mount', ['-o', ['loop', ...options].join(','), image, path])
  return {
    [Symbol.asyncDispose]: async () => {
      await run('umount', [path])
      await run('rmdir', [path])
    },
  }
}
