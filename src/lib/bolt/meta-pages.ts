import { encodeRecord, recordOffset } from './commit-record.ts'
import type { BoltFile } from './file.ts'
import { encodeHead, type Meta, metaSize } from './meta.ts'
import type { Page } from './page.ts'
import type { State } from './metas.ts'

/** Over the first bytes of a record, it makes it none. */
const noRecord = Buffer.alloc(8)

/**
 * The two meta pages of a file, and how a commit becomes the state it is in. Its pages are written to places that
 * neither meta refers to; then comes its record (see `commit-record.ts`) or, when there can be none,
 * nothing; then a sync. From here on the commit is durable with a record; its meta goes over the older of the two, and
 * to disk with the next sync. Without one the meta has a sync of its own. Until then the file says what it
 * said before.
 */
export class MetaPages {
  readonly #file: BoltFile
  readonly #noSync: boolean
  #meta: Meta
  /** What the page of the state before begins with, and that of the state. */
  #older: Buffer
  #newer: Buffer
  /** Whether the file has something else: a commit failed, or it was opened by a record. */
  #broken: boolean
  #settled = true

  constructor(file: BoltFile, state: State, noSync: boolean) {
    const { meta, before, recorded } = state
    this.#file = file
    this.#noSync = noSync
    this.#meta = meta
    this.#broken = recorded
    this.#older = before === undefined ? readHead(file, this.#olderAt) : encodeHead(before)
    this.#newer = encodeHead(meta)
  }

  get meta(): Meta {
    return this.#meta
  }

  /** Whether the meta of the last commit is on disk: pages that only the one before it uses may be used again. */
  get settled(): boolean {
    return this.#settled && !this.#broken
  }

  /**
   * Makes `meta` the state, whose `pages` have been written. `alone` when one caller waits and no more. When
   * it throws, the state is the one before.
   *
   * @throws the system error of the write or sync that failed.
   */
  async commit(meta: Meta, pages: readonly Page[], alone: boolean): Promise<void> {
    const { pageSize } = meta
    const [base, head] = [this.#newer, encodeHead(meta)]
    const record = this.#noSync ? undefined : encodeRecord({ base, head, pages, pageSize })
    this.#broken = true
    if (record !== undefined) await this.#file.write(record, this.#olderAt + recordOffset)
    await this.#sync(alone)
    await this.#file.write(head, this.#olderAt)
    if (record === undefined) await this.#sync(alone)
    this.#broken = false
    this.#settled = record === undefined
    this.#older = base
    this.#newer = head
    this.#meta = meta
  }

  /**
   * After a commit that failed, puts back what the pages said before, as what it had written may be on disk: before
   * pages are used again that it refers to.
   */
  async repair(alone: boolean): Promise<void> {
    if (!this.#broken) return
    await this.#file.write(this.#older, this.#olderAt)
    await this.#file.write(this.#newer, this.#newerAt)
    await this.#sync(alone)
    // Not before: a state that was found by two records may need this one until then.
    await this.#file.write(noRecord, this.#olderAt + recordOffset)
    this.#broken = false
    this.#settled = true
  }

  /** Puts the meta of the last commit on disk, which needs its record no more. */
  async settle(): Promise<void> {
    await this.repair(false)
    if (this.#settled) return
    try {
      await this.#sync(false)
      this.#settled = true
    } catch (err) {
      // The system may take for written what is not.
      this.#broken = true
      throw err
    }
  }

  get #newerAt(): number {
    return (this.#meta.txid % 2) * this.#meta.pageSize
  }

  get #olderAt(): number {
    return this.#meta.pageSize - this.#newerAt
  }

  async #sync(alone: boolean): Promise<void> {
    if (!this.#noSync) await this.#file.sync(alone)
  }
}

function readHead(file: BoltFile, position: number): Buffer {
  const head = Buffer.alloc(metaSize)
  file.read(head, position)
  return head
}
