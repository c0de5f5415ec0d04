import { existsSync } from 'node:fs'
import { chmod, copyFile, lchown, mkdir, symlink, writeFile } from 'node:fs/promises'

import type { Owner } from '#core/snapshots/id-mapping.ts'
import type { CreateOptions } from '#core/snapshots/storage/storage.ts'

import { cachedImage } from './cache.ts'
import { layerFile, marker, upperDir, verityFile, type VerityMode, workDir } from './files.ts'

/** What the directory of a new snapshot is filled by. */
export interface FillOptions {
  /** Who owns its root; who makes it, unless given. */
  readonly owner: Owner | undefined
  readonly writableBytes: number
  readonly verity: VerityMode
  readonly caches?: readonly string[]
}

/** Makes the directory of a new snapshot, and what belongs into it. */
export async function fillDirectory(
  path: string,
  snapshot: CreateOptions,
  options: FillOptions,
): Promise<void> {
  const { owner, writableBytes } = options
  await makeDir(path, 0o700)
  await makeDir(upperDir(path), 0o755)
  if (owner) await lchown(upperDir(path), owner.uid, owner.gid)
  if (snapshot.kind !== 'active') return
  if (writableBytes === 0) await makeDir(workDir(path), 0o711)
  await writeFile(marker(path), '', { mode: 0o644 })
  if (snapshot.parent === '') await useCached(path, snapshot, options)
}

/** Uses the image of a layer that is there already. Beside a parent it would not be mounted. */
async function useCached(
  path: string,
  { labels = {} }: CreateOptions,
  { caches = [], verity }: FillOptions,
): Promise<void> {
  const found = cachedImage(caches, labels)
  if (found === undefined) return
  await symlink(found, layerFile(path))
  const sidecar = verityFile(found)
  if (verity === 'off' || !existsSync(sidecar)) return
  await copyFile(sidecar, verityFile(layerFile(path)))
}

/** Makes a directory with exactly this mode, whatever the umask. */
async function makeDir(path: string, mode: number): Promise<void> {
  await mkdir(path)
  await chmod(path, mode)
}
