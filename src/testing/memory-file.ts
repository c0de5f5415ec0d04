import type { BoltFile } from '#lib/bolt/file.ts'

/** One thing that was done to a file. */
export type FileStep =
  | { readonly kind: 'write'; readonly position: number; readonly data: Buffer }
  | { readonly kind: 'truncate'; readonly size: number }
  | { readonly kind: 'sync' }

/** A database file in memory, which remembers all that was done to it and can fail on demand. */
export class MemoryFile implements BoltFile {
  readonly path = 'memory.db'
  readonly steps: FileStep[] = []
  /** Called before each step; what it gives is thrown, for a write after half of it was done. */
  failure: (kind: FileStep['kind']) => Error | undefined = () => undefined
  /** Syncs wait for it. */
  syncGate: Promise<void> | undefined
  #bytes: Buffer

  constructor(bytes: Buffer = Buffer.alloc(0)) {
    this.#bytes = bytes
  }

  size(): number {
    return this.#bytes.length
  }

  read(buf: Buffer, position: number): number {
    return this.#bytes.copy(buf, 0, Math.min(position, this.#bytes.length))
  }

  async write(buf: Buffer, position: number): Promise<void> {
    const error = this.failure('write')
    const data = Buffer.from(error === undefined ? buf : buf.subarray(0, buf.length / 2))
    this.#do({ kind: 'write', position, data })
    if (error !== undefined) throw error
    await Promise.resolve()
  }

  async truncate(size: number): Promise<void> {
    const error = this.failure('truncate')
    if (error !== undefined) throw error
    this.#do({ kind: 'truncate', size })
    await Promise.resolve()
  }

  async sync(): Promise<void> {
    const gate = this.syncGate ?? new Promise<void>((resolve) => setImmediate(resolve))
    await gate
    const error = this.failure('sync')
    if (error !== undefined) throw error
    this.#do({ kind: 'sync' })
  }

  close(): void {
    this.#bytes = Buffer.alloc(0)
  }

  #do(step: FileStep): void {
    this.steps.push(step)
    this.#bytes = apply(this.#bytes, step)
  }
}

/** The smallest part of a write that is on disk wholly or not at all, in bytes. */
const sector = 512

/**
 * What a disk may hold after a power cut that came when `steps` had been done: everything up to the
 * last sync, and of what came later, any part. `below` gives a random number below its argument.
 */
export function afterPowerCut(
  steps: readonly FileStep[],
  below: (limit: number) => number,
): Buffer {
  const synced = steps.findLastIndex((step) => step.kind === 'sync')
  let bytes: Buffer = Buffer.alloc(0)
  for (const [i, step] of steps.entries()) {
    const fate = i < synced ? 0 : below(3)
    if (fate === 0) bytes = apply(bytes, step)
    else if (fate === 1 && step.kind === 'write') {
      for (let at = 0; at < step.data.length; at += sector) {
        if (below(2) === 0) continue
        const data = step.data.subarray(at, at + sector)
        bytes = apply(bytes, { kind: 'write', position: step.position + at, data })
      }
    }
  }
  return bytes
}

/** What a file holds when its process is killed after `steps`. */
export const afterKill = (steps: readonly FileStep[]): Buffer =>
  steps.reduce((bytes, step) => apply(bytes, step), Buffer.alloc(0) as Buffer)

function apply(bytes: Buffer, step: FileStep): Buffer {
  if (step.kind === 'sync') return bytes
  if (step.kind === 'truncate') return resized(bytes, step.size)
  const end = step.position + step.data.length
  const room = end > bytes.length ? resized(bytes, end) : bytes
  room.set(step.data, step.position)
  return room
}

function resized(bytes: Buffer, size: number): Buffer {
  const next = Buffer.alloc(size)
  bytes.copy(next)
  return next
}
