import { statSync } from 'node:fs'

import type { Mount } from '#core/mount/mount.ts'
import type { Snapshot } from '#core/snapshots/storage/storage.ts'
import { failedPrecondition } from '#lib/errors/errors.ts'

import type { SnapshotFiles } from './files.ts'

/** What mounts are made from. */
export interface MountSource {
  readonly snapshot: Snapshot
  readonly files: SnapshotFiles
  /** Added to overlay mounts. */
  readonly overlayOptions: readonly string[]
  /** Whose files those of the layers are; for overlay mounts. */
  readonly mapping: readonly string[]
  /** Size of the file that takes what is written, in bytes; 0 for a directory instead. */
  readonly writableBytes: number
}

/**
 * How to mount a snapshot: its layers as erofs images, by overlayfs on one another. Images and what is
 * templated are for the mount manager.
 *
 *     active, first     bind fs                            or, in a file: mkfs/ext4, format/mkdir/bind
 *     active, others    [mkfs/ext4] erofs… format/mkdir/overlay
 *     view of one       erofs
 *     view of several   erofs… format/mkdir/overlay
 *
 * Source: upstream `plugins/snapshots/erofs/erofs.go`.
 */
export function snapshotMounts(from: MountSource): readonly Mount[] {
  const { snapshot, files, writableBytes } = from
  const { id, info, parentIds } = snapshot
  const active = info.kind === 'active'
  if (parentIds.length === 0) return alone(from)
  if (!active && parentIds.length === 1) return lowerMounts(files, parentIds)

  const inFile = active && writableBytes > 0
  const first = inFile ? 1 : 0
  const lowers = lowerMounts(files, parentIds)
  const last = first + lowers.length - 1
  const one = lowers.length === 1
  if (one && !active) return [...lowers, formatted('bind', '{{ mount 0 }}', ['ro', 'rbind'])]
  const lower = one ? `{{ mount ${first} }}` : `{{ overlay ${first} ${last} }}`
  const upper = inFile ? overlayInFile(files, id) : active ? upperIn(files, id) : []
  return [
    ...(inFile ? [imageFile(files.writable(id), writableBytes)] : []),
    ...lowers,
    formatted('mkdir/overlay', 'overlay', [
      ...upper,
      ...from.mapping,
      `lowerdir=${lower}`,
      ...from.overlayOptions,
    ]),
  ]
}

/** Without parents there is nothing for overlayfs to put together. */
function alone({ snapshot, files, writableBytes }: MountSource): readonly Mount[] {
  const { id, info } = snapshot
  const active = info.kind === 'active'
  if (files.isApplied(id)) return [layerMount(files, id)]
  if (!active || writableBytes === 0) {
    return [{ type: 'bind', source: files.upper(id), options: [active ? 'rw' : 'ro', 'rbind'] }]
  }
  return [
    imageFile(files.writable(id), writableBytes),
    formatted('mkdir/bind', upperInFile, [makeUpper(files, id), 'rw', 'rbind']),
  ]
}

/** The images of layers, nearest first; one merged index stands for all that are below it. */
function lowerMounts(files: SnapshotFiles, ids: readonly string[]): readonly Mount[] {
  const mounts: Mount[] = []
  for (const [at, id] of ids.entries()) {
    if (files.hasMergedIndex(id)) {
      const devices = ids.slice(at).toReversed()
      const options = devices.map((each) => `device=${files.layer(each)}`)
      const source = files.mergedIndex(id)
      return [...mounts, { type: 'erofs', source, options: ['ro', 'loop', ...options] }]
    }
    mounts.push(layerMount(files, id))
  }
  return mounts
}

function layerMount(files: SnapshotFiles, id: string): Mount {
  const source = files.layer(id)
  if (!files.hasLayer(id)) throw failedPrecondition(`there is no erofs image ${source}`)
  const verity = files.verity(id)
  const options = ['ro', 'loop', ...(verity ? [`X-containerd.dmverity=${verity}`] : [])]
  return { type: 'erofs', source, options }
}

const imageFile = (source: string, bytes: number): Mount => ({
  type: 'mkfs/ext4',
  source,
  options: ['X-containerd.mkfs.fs=ext4', `X-containerd.mkfs.size=${bytes}`, 'rw', 'loop'],
})

const formatted = (type: string, source: string, options: readonly string[]): Mount => ({
  type: `format/${type}`,
  source,
  options,
})

const upperInFile = '{{ mount 0 }}/upper'

const overlayInFile = (files: SnapshotFiles, id: string): readonly string[] => [
  makeUpper(files, id),
  'X-containerd.mkdir.path={{ mount 0 }}/work:0755',
  'workdir={{ mount 0 }}/work',
  `upperdir=${upperInFile}`,
]

/** The root of the tree has the owner of the directory that stands for it outside. */
function makeUpper(files: SnapshotFiles, id: string): string {
  const { uid, gid } = statSync(files.upper(id))
  const owner = uid === 0 && gid === 0 ? '' : `:${uid}:${gid}`
  return `X-containerd.mkdir.path=${upperInFile}:0755${owner}`
}

const upperIn = (files: SnapshotFiles, id: string): readonly string[] => [
  `workdir=${files.work(id)}`,
  `upperdir=${files.upper(id)}`,
]
