import { resourceExhausted } from '#lib/errors/errors.ts'
import type { Entry, Sink } from '#lib/tar/entry.ts'

/** How much one layer may become. 0 is no limit. */
export interface LayerLimits {
  /** Bytes of the layer when it is not compressed. */
  readonly maxBytes: number
  /** How many times its own size, once it is larger than `ratioFloor`. */
  readonly maxRatio: number
  /** Bytes of the blob. Where nobody knows them, those that have been read count, which may be few yet. */
  readonly blobBytes?: number
  /** Files, directories, links and whiteouts. */
  readonly maxEntries: number
}

export const noLimits: LayerLimits = { maxBytes: 0, maxRatio: 0, maxEntries: 0 }

/** Below this many bytes no ratio is too much: nothing is filled up by them. */
export const ratioFloor: number = 2 ** 30

/** Counts what a layer is and becomes, and ends it when that is too much. */
export class Budget {
  readonly #limits: LayerLimits
  #taken = 0
  #made = 0
  #entries = 0

  constructor(limits: LayerLimits) {
    this.#limits = limits
  }

  /** So many bytes of the blob were read. */
  take(bytes: number): void {
    this.#taken += bytes
  }

  /** So many bytes came out of it. @throws `resource_exhausted`. */
  make(bytes: number): void {
    this.#made += bytes
    const { maxBytes, maxRatio, blobBytes = 0 } = this.#limits
    const size = Math.max(this.#taken, blobBytes)
    if (maxBytes > 0 && this.#made > maxBytes) {
      throw tooMuch(`becomes more than ${maxBytes} bytes`, 'max_layer_bytes')
    }
    if (maxRatio === 0 || this.#made <= ratioFloor || this.#made <= size * maxRatio) return
    const grown = `becomes more than ${maxRatio} times its size (${this.#made} bytes of ${size})`
    throw tooMuch(grown, 'max_expansion_ratio')
  }

  /** `sink`, with its entries counted. */
  counting(sink: Sink): Sink {
    const { maxEntries } = this.#limits
    if (maxEntries === 0) return sink
    return {
      entry: (entry: Entry) => {
        if (++this.#entries > maxEntries) {
          throw tooMuch(`has more than ${maxEntries} entries`, 'max_layer_entries')
        }
        sink.entry(entry)
      },
      data: (bytes, offset) => sink.data(bytes, offset),
      end: () => sink.end(),
    }
  }
}

const tooMuch = (what: string, key: string): Error =>
  resourceExhausted(
    `layer ${what}; ${key} of [plugins."io.containerd.differ.v1.walking"] permits more`,
  )
