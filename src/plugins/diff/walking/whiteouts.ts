import { closeSync } from 'node:fs'

import { AT_SYMLINK_NOFOLLOW, fchownat } from '#sys/file.ts'
import { makeDevice, mknodat, NodeType } from '#sys/node.ts'
import { lsetxattr } from '#sys/xattr.ts'

import type { Owner } from './attributes.ts'
import { type Directories, type Directory, dirname } from './directories.ts'
import { isDirectory } from './file-kind.ts'
import type { LowerLayers, Overlay } from './lower-layers.ts'
import { lookAt, namesIn, openChild, removeTree } from '#sys/tree.ts'

/** Begins the name of an entry that deletes what the rest of the name says. Source: OCI image-spec, layer.md. */
export const whiteoutPrefix = '.wh.'
/** The entry that deletes all that lower layers have in its directory. */
export const opaqueMarker = '.wh..wh..opq'

/** How a kind of target keeps what a layer deletes. */
export interface Whiteouts {
  /** A path below the root was unpacked from this layer. */
  unpacked(path: string): void
  /** Deletes what lower layers have at `name`. */
  delete(dir: Directory, name: string, owner: Owner): void
  /** Deletes what lower layers have in `dir`. */
  opaque(dir: Directory): void
  /** The directory `name` took the place of a whiteout: what was below that must stay hidden. */
  replaced(dir: Directory, name: string): void
  /** All is unpacked: what had to wait for that. */
  finish(): void
}

/** For a tree with all layers in it: what is deleted goes. */
export class RemovingWhiteouts implements Whiteouts {
  readonly #directories: () => Directories
  readonly #unpacked = new Set<string>()

  constructor(directories: () => Directories) {
    this.#directories = directories
  }

  /** What a file is in counts too, whether or not the archive names it. */
  unpacked(path: string): void {
    for (let each = path; each !== '' && !this.#unpacked.has(each); each = dirname(each)) {
      this.#unpacked.add(each)
    }
  }

  delete(dir: Directory, name: string): void {
    removeTree(dir.fd, name)
    this.#directories().forget()
  }

  /** Markers may come late, so what this layer itself brought is kept. */
  opaque(dir: Directory): void {
    this.#clear(dir.fd, dir.path)
    this.#directories().forget()
  }

  replaced(): void {
    // There is no whiteout in such a tree.
  }

  finish(): void {
    // Nothing waits.
  }

  #clear(fd: number, path: string): void {
    for (const name of namesIn(fd)) {
      const child = path === '' ? name : `${path}/${name}`
      if (!this.#unpacked.has(child)) {
        removeTree(fd, name)
        continue
      }
      const stat = lookAt(fd, name)
      if (!stat || !isDirectory(stat)) continue
      const childFd = openChild(fd, name)
      try {
        this.#clear(childFd, child)
      } finally {
        closeSync(childFd)
      }
    }
  }
}

/** For the upper directory of an overlay: what is deleted is marked as the kernel's overlay expects. */
export class OverlayWhiteouts implements Whiteouts {
  readonly #directories: () => Directories
  readonly #lowers: LowerLayers
  readonly #opaqueKey: string
  #rootOpaque = false

  constructor(directories: () => Directories, lowers: LowerLayers, overlay: Overlay) {
    this.#directories = directories
    this.#lowers = lowers
    this.#opaqueKey = overlay.userxattr ? 'user.overlay.opaque' : 'trusted.overlay.opaque'
  }

  unpacked(): void {
    // Lower layers are elsewhere: nothing here is theirs.
  }

  delete(dir: Directory, name: string, owner: Owner): void {
    const stat = lookAt(dir.fd, name)
    if (stat) removeTree(dir.fd, name)
    mknodat(dir.fd, name, NodeType.character, makeDevice(0, 0))
    fchownat(dir.fd, name, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW)
    if (stat) this.#directories().forget()
  }

  opaque(dir: Directory): void {
    lsetxattr(`/proc/self/fd/${dir.fd}/.`, this.#opaqueKey, opaqueValue)
    if (dir.path === '') this.#rootOpaque = true
  }

  replaced(dir: Directory, name: string): void {
    lsetxattr(`/proc/self/fd/${dir.fd}/${name}`, this.#opaqueKey, opaqueValue)
  }

  /** The kernel merges roots whatever they say, so each name in the roots below is deleted by itself. */
  finish(): void {
    if (!this.#rootOpaque) return
    const { root } = this.#directories()
    for (const name of this.#lowers.rootNames()) {
      const stat = lookAt(root.fd, name)
      if (!stat) this.delete(root, name, { uid: 0, gid: 0 })
      else if (isDirectory(stat)) this.replaced(root, name)
    }
  }
}

const opaqueValue = Buffer.from('y')
