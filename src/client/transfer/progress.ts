import {
  archiveName,
  type Progress,
  type TransferOptions as Hearing,
} from '#core/transfer/transfer.ts'

import type { TransferOptions } from './options.ts'

/** One blob or archive on its way, or one image that was made. */
export interface TransferPart {
  /** `layer-sha256:…`, `manifest-sha256:…`, `archive`, or the name of an image. */
  readonly name: string
  /** The last thing that happened to it, in the daemon's words: `downloading`, `extracted`, …. */
  readonly event: string
  readonly isLayer: boolean
  /** Bytes that have travelled, or need not, out of `total`, 0 when unknown; both as they travel, so compressed. */
  readonly moved: number
  readonly total: number
  /** Bytes of those that have been unpacked. */
  readonly unpacked: number
}

/**
 * How far a transfer is. A time to wait for can be told from two of these: bytes are counted the same
 * way all along, and what was there already counts as moved in `present`, so that a rate can leave
 * it out.
 */
export interface TransferProgress {
  /** The last sentence about the whole, such as `Pulling from OCI Registry (…)`. */
  readonly message: string
  /** In the order in which they became known. */
  readonly parts: readonly TransferPart[]
  /**
   * Bytes that have travelled or need not, out of `total`, which grows while manifests are read. Of an archive
   * they are its bytes, and `total` is 0 while nobody knows how many there are.
   */
  readonly moved: number
  readonly total: number
  /** Bytes of `moved` that were there before. */
  readonly present: number
  /** Bytes of layers that have been unpacked; 0 when nothing is. */
  readonly unpacked: number
}

/** The events of a daemon, added up. */
export class ProgressSum {
  #message = ''
  readonly #parts = new Map<string, TransferPart>()
  readonly #present = new Set<string>()

  add({ event, name, progress = 0, total = 0, descriptor }: Progress): void {
    if (name === undefined) {
      this.#message = event
      return
    }
    const known = this.#parts.get(name)
    const size = Math.max(total, known?.total ?? 0, descriptor?.size ?? 0)
    if (event === 'already exists') this.#present.add(name)
    this.#parts.set(name, {
      name,
      event,
      isLayer: name.startsWith('layer-'),
      ...amounts(event, Math.max(progress, 0), size, known),
    })
  }

  get state(): TransferProgress {
    const parts = [...this.#parts.values()]
    // The line of an image has the size of its manifest, which has a line of its own.
    const blobs = parts.filter(({ name }) => isBlob(name))
    // What is in an archive travels as part of it.
    const archive = this.#parts.get(archiveName)
    const travelling = archive ? [archive] : blobs
    return {
      message: this.#message,
      parts,
      moved: sum(travelling, ({ moved }) => moved),
      total: sum(travelling, ({ total }) => total),
      present: sum(travelling, ({ name, moved }) => (this.#present.has(name) ? moved : 0)),
      unpacked: sum(blobs, ({ unpacked }) => unpacked),
    }
  }
}

/** Has a client hear what a transfer tells, added up. */
export function hearing({ onProgress }: TransferOptions): Hearing {
  if (!onProgress) return {}
  const sum = new ProgressSum()
  return {
    onProgress: (progress: Progress) => {
      sum.add(progress)
      onProgress(sum.state)
    },
  }
}

const sum = (parts: readonly TransferPart[], of: (part: TransferPart) => number): number =>
  parts.reduce((all, part) => all + of(part), 0)

/** Source: upstream `MakeRefKey`; a manifest that is pushed has its tag before the digest. */
const isBlob = (name: string): boolean =>
  /^(attestation|config|index|layer|manifest|unknown)-(.*@)?[a-z0-9]+:[0-9a-f]{32,}$/.test(name)

const moving = ['downloading', 'uploading', 'converting', 'exporting', 'importing']
const done = ['complete', 'already exists', 'saved', 'done']

function amounts(
  event: string,
  progress: number,
  total: number,
  known: TransferPart | undefined,
): Pick<TransferPart, 'moved' | 'total' | 'unpacked'> {
  const unpacked = known?.unpacked ?? 0
  if (event === 'extracted') return { moved: total, total, unpacked: total }
  if (event === 'extracting') return { moved: total, total, unpacked: Math.min(progress, total) }
  if (done.includes(event)) return { moved: total, total, unpacked }
  if (moving.includes(event)) {
    return { moved: total > 0 ? Math.min(progress, total) : progress, total, unpacked }
  }
  return { moved: known?.moved ?? 0, total, unpacked }
}
