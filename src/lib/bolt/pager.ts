import { dataLoss, describe } from '#lib/errors/errors.ts'

import { readUint64 } from './bytes.ts'
import type { BoltFile } from './file.ts'
import { type Page, parsePage } from './page.ts'

/** Reads pages, and keeps those used lately up to a number of bytes. */
export class Pager {
  readonly pageSize: number
  readonly #file: BoltFile
  readonly #limit: number
  readonly #pages = new Map<number, Page>()
  #bytes = 0

  constructor(file: BoltFile, pageSize: number, cacheBytes: number) {
    this.#file = file
    this.pageSize = pageSize
    this.#limit = cacheBytes
  }

  /**
   * The page `id` with what it overflows into.
   *
   * @throws `data_loss` when there is no such page; a system error when it cannot be read.
   */
  page(id: number): Page {
    const cached = this.#pages.get(id)
    if (cached !== undefined) {
      cached.used = true
      return cached
    }
    const page = this.#load(id)
    this.keep(page)
    return page
  }

  /** Remembers a page that is now on disk. */
  keep(page: Page): void {
    this.forget(page.id)
    this.#pages.set(page.id, page)
    this.#bytes += page.buf.length
    if (this.#bytes > this.#limit) this.#evict()
  }

  /** Forgets a page that is about to be overwritten. */
  forget(id: number): void {
    const page = this.#pages.get(id)
    if (page === undefined) return
    this.#pages.delete(id)
    this.#bytes -= page.buf.length
  }

  #load(id: number): Page {
    const first = Buffer.allocUnsafeSlow(this.pageSize)
    this.readFirst(id, first)
    const span = 1 + first.readUInt32LE(12)
    const buf = span === 1 ? first : this.raw(id, span)
    try {
      return parsePage(id, buf)
    } catch (err) {
      throw this.damaged(describe(err), err)
    }
  }

  /**
   * The bytes of `span` pages from `id`, whatever they are.
   *
   * @throws `data_loss` when the file has no such pages.
   */
  raw(id: number, span: number): Buffer {
    const at = id * this.pageSize
    const length = span * this.pageSize
    const inside = id > 1 && (span === 1 || at + length <= this.#file.size())
    if (!inside) throw this.damaged(`page ${id} is outside the file`)
    const buf = Buffer.allocUnsafeSlow(length)
    this.read(buf, at)
    return buf
  }

  /**
   * Fills `buf`, which has the size of a page, with the first page of the tree page `id`.
   *
   * @throws `data_loss` when there is no such page.
   */
  readFirst(id: number, buf: Buffer): void {
    if (!(id > 1)) throw this.damaged(`page ${id} is outside the file`)
    this.read(buf, id * this.pageSize)
    if (readUint64(buf, 0) !== id) throw this.damaged(`page ${id} is not where it should be`)
  }

  /** Fills `buf` from `position`. @throws `data_loss` when the file ends before. */
  read(buf: Buffer, position: number): void {
    if (this.#file.read(buf, position) === buf.length) return
    throw this.damaged(`page ${Math.floor(position / this.pageSize)} is cut short`)
  }

  /** An error of class `data_loss` that says which file it is about. */
  damaged(what: string, cause?: unknown): Error {
    return dataLoss(`database ${JSON.stringify(this.#file.path)}: ${what}`, { cause })
  }

  /**
   * Second chance: a page used since the last round stays for one more. Some room is made at once:
   * a map that lost its first entries is slow to find the next one.
   */
  #evict(): void {
    const enough = this.#limit - this.#limit / 16
    for (const [id, page] of this.#pages) {
      if (this.#bytes <= enough) return
      if (page.used) {
        page.used = false
        this.#pages.delete(id)
        this.#pages.set(id, page)
      } else {
        this.forget(id)
      }
    }
  }
}
