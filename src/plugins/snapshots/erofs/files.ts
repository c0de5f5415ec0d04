import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'

import { failedPrecondition } from '#lib/errors/errors.ts'

/** What to do with images that dm-verity could check. */
export type VerityMode = 'auto' | 'on' | 'off'

/**
 * Where the files of snapshots are. Source: upstream `plugins/snapshots/erofs`.
 *
 *     snapshots/<id>/
 *       fs                      what is written, until it becomes an image; where the image of a file is read
 *       work                    overlayfs's scratch space; of active snapshots only
 *       .erofslayer             empty; says to differs that a layer.erofs can be put beside it
 *       layer.erofs             the image of a committed snapshot, or of one that a differ has made
 *       layer.erofs.new         the same file, or part of one, while a commit makes it
 *       layer.erofs.dmverity    how to check it
 *       fsmeta.erofs            an index of it and all below, that stands for all of them
 *       rwlayer.img             what takes the writes instead of fs, in block mode
 */
export class SnapshotFiles {
  readonly #dirOf: (id: string) => string
  readonly #verity: VerityMode

  constructor(dirOf: (id: string) => string, verity: VerityMode) {
    this.#dirOf = dirOf
    this.#verity = verity
  }

  dir(id: string): string {
    return this.#dirOf(id)
  }

  upper(id: string): string {
    return upperDir(this.#dirOf(id))
  }

  work(id: string): string {
    return workDir(this.#dirOf(id))
  }

  layer(id: string): string {
    return layerFile(this.#dirOf(id))
  }

  newLayer(id: string): string {
    return `${this.layer(id)}.new`
  }

  mergedIndex(id: string): string {
    return join(this.#dirOf(id), 'fsmeta.erofs')
  }

  writable(id: string): string {
    return join(this.#dirOf(id), 'rwlayer.img')
  }

  hasLayer(id: string): boolean {
    return existsSync(this.layer(id))
  }

  /** Whether a differ has made the image, and not a commit that was cut off. */
  isApplied(id: string): boolean {
    return this.hasLayer(id) && !existsSync(this.newLayer(id))
  }

  hasMergedIndex(id: string): boolean {
    return (statSync(this.mergedIndex(id), { throwIfNoEntry: false })?.size ?? 0) > 0
  }

  /**
   * The file that says how dm-verity checks the image; undefined when it does not.
   *
   * @throws `failed_precondition` for an image that must be checked and can't be.
   */
  verity(id: string): string | undefined {
    if (this.#verity === 'off') return undefined
    const path = verityFile(this.layer(id))
    if (existsSync(path)) return path
    if (this.#verity === 'auto') return undefined
    throw failedPrecondition(
      `dmverity_mode is "on" and ${path} is missing: remove the snapshot and pull its image again, or set dmverity_mode to "auto"`,
    )
  }
}

export const upperDir = (dir: string): string => join(dir, 'fs')
export const workDir = (dir: string): string => join(dir, 'work')
export const layerFile = (dir: string): string => join(dir, 'layer.erofs')
/** Beside an image, or the image of a cache. */
export const verityFile = (image: string): string => `${image}.dmverity`
export const marker = (dir: string): string => join(dir, '.erofslayer')
