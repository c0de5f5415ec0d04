import { closeSync, constants, ftruncateSync } from 'node:fs'

import type { Context } from '#core/context.ts'
import type { Mount } from '#core/mount/mount.ts'
import { KeyedMutex } from '#lib/async/keyed-mutex.ts'
import { invalidArgument } from '#lib/errors/errors.ts'
import { fullDisk } from '#lib/fs/full-disk.ts'
import { parseRamSize } from '#lib/go/ram-size.ts'
import { isErrno } from '#sys/errno.ts'
import { Rename, renameat2, syncfs, unlinkat } from '#sys/file.ts'
import { openat2, Resolve } from '#sys/openat2.ts'
import { fstatat } from '#sys/stat.ts'

import { runTool } from './run-tool.ts'
import { type Place, placeOf } from './roots.ts'

const prefix = 'X-containerd.mkfs.'

/** Files that are being made. */
const making = new KeyedMutex()

interface Wanted {
  readonly fs: string
  /** In bytes. */
  readonly size: number
  readonly uuid: string
}

/**
 * Makes the file that `mount` is of, with a file system in it, unless it is there, and gives the mount
 * without the options for that. The file appears when it is whole.
 *
 * @throws `invalid_argument`; `unimplemented` for a file outside `roots`; what mkfs says.
 */
export async function makeFileSystem(
  ctx: Context,
  mount: Mount,
  roots: readonly string[],
): Promise<Mount> {
  const { source } = mount
  using place = placeOf(source, roots, 'mkfs')
  const wanted = parse(mount.options.filter((option) => option.startsWith(prefix)))
  using _alone = await making.lock(source, ctx)
  if (!exists(place)) {
    try {
      await make(ctx, place, wanted)
    } catch (err) {
      ctx.signal.throwIfAborted()
      throw notFormatted(source, fullDisk(err, source))
    }
  }
  return { ...mount, options: mount.options.filter((option) => !option.startsWith(prefix)) }
}

const notFormatted = (path: string, cause: unknown): Error =>
  new Error(`failed format ${JSON.stringify(path)}`, { cause })

function parse(options: readonly string[]): Wanted {
  let wanted: Wanted = { fs: 'ext4', size: 0, uuid: '' }
  for (const option of options) {
    const [key = '', value = ''] = option.slice(prefix.length).split(/=(.*)/s)
    if (key === 'size') wanted = { ...wanted, size: parseRamSize(value) }
    else if (key === 'fs' || key === 'uuid') wanted = { ...wanted, [key]: value }
    else throw invalidArgument(`unknown mount option ${key}`)
  }
  if (wanted.size === 0) throw invalidArgument('mkfs requires mkfs.size option')
  commandOf(wanted)
  return wanted
}

function exists({ dir, name }: Place): boolean {
  try {
    fstatat(dir, name)
    return true
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return false
    throw err
  }
}

/** mkfs that is killed half way must not leave a file that passes for done. */
async function make(ctx: Context, { dir, name }: Place, wanted: Wanted): Promise<void> {
  const { O_RDWR, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants
  const unfinished = `.${name}.mkfs`
  const flags = O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW
  const fd = openat2(dir, unfinished, { flags, mode: 0o640, resolve: Resolve.beneath })
  try {
    ftruncateSync(fd, wanted.size)
    const [program, ...args] = commandOf(wanted)
    await runTool(ctx, program, [...args, '/proc/self/fd/3'], { file: fd })
    syncfs(fd)
    renameat2(dir, unfinished, dir, name, Rename.noReplace)
  } catch (err) {
    unlinkat(dir, unfinished)
    throw err
  } finally {
    closeSync(fd)
  }
}

function commandOf({ fs, uuid }: Wanted): readonly [string, ...string[]] {
  if (/^ext[234]$/.test(fs)) return [`mkfs.${fs}`, '-q', ...(uuid ? ['-U', uuid] : [])]
  if (fs === 'xfs') return ['mkfs.xfs', '-q', ...(uuid ? ['-m', `uuid=${uuid}`] : [])]
  throw invalidArgument(`unsupported filesystem ${JSON.stringify(fs)}`)
}
