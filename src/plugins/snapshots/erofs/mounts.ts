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
  const upper = inFile ? upperInFile : active ? upperIn(files, id) : []
  return [
    ...(inFile ? [imageFile(files.writable(id), writableBytes, 'rw')] : []),
    ...lowers,
    formatted('mkdir/overlay', 'overlay', [...upper, `lowerdir=${lower}`, ...from.overlayOptions]),
  ]
}

/** Without parents there is nothing for overlayfs to put together. */
function alone({ snapshot, files, writableBytes }: MountSource): readonly Mount[] {
  const { id, info } = snapshot
  const access = info.kind === 'active' ? 'rw' : 'ro'
  if (files.isApplied(id)) return [layerMount(files, id)]
  if (writableBytes === 0) {
    return [{ type: 'bind', source: files.upper(id), options: [access, 'rbind'] }]
  }
  const upper = '{{ mount 0 }}/upper'
  return [
    imageFile(files.writable(id), writableBytes, access),
    formatted('mkdir/bind', upper, [`X-containerd.mkdir.path=${upper}:0755`, access, 'rbind']),
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

const imageFile = (source: string, bytes: number, access: 'rw' | 'ro'): Mount => ({
  type: 'mkfs/ext4',
  source,
  options: ['X-containerd.mkfs.fs=ext4', `X-containerd.mkfs.size=${bytes}`, access, 'loop'],
})

const formatted = (type: string, source: string, options: readonly string[]): Mount => ({
  type: `format/${type}`,
  source,
  options,
})

const upperInFile: readonly string[] = [
  'X-containerd.mkdir.path={{ mount 0 }}/upper:0755',
  'X-containerd.mkdir.path={{ mount 0 }}/work:0755',
  'workdir={{ mount 0 }}/work',
  'upperdir={{ mount 0 }}/upper',
]

const upperIn = (files: SnapshotFiles, id: string): readonly string[] => [
  `workdir=${files.work(id)}`,
  `upperdir=${files.upper(id)}`,
]
