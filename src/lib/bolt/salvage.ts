import type { Bucket, Database } from './database.ts'
import type { BoltFile } from './file.ts'
import { orphansFor } from './orphans.ts'
import { bucketHeaderSize } from './page.ts'
import type { Problem } from './problem.ts'
import { contains, covers, overlap, type Range } from './range.ts'
import { type Start, startsOf } from './roots.ts'
import { withoutErrors } from './unreadable.ts'
import { type Visit, Walker } from './walk.ts'

/** What became of a damaged file. */
export interface SalvageReport {
  /** The state it was read as, in words; undefined when there was none. */
  readonly source: string | undefined
  /** False when both metas were damaged: the state may be an older one. */
  readonly certain: boolean
  readonly buckets: number
  readonly pairs: number
  readonly losses: readonly Loss[]
  /** What is wrong without hiding anything: pages that are used twice are in both places. */
  readonly doubts: readonly Problem[]
}

/** What could not be read where it belongs, and what was done about it. */
export interface Loss extends Range {
  readonly page: number
  readonly message: string
  readonly remedy: Remedy
}

/**
 * - `previous`: as the file's other meta page says it was one commit before
 * - `orphans`: from pages that belong there by their keys; some may have been deleted before
 * - `none`: it is lost
 */
export type Remedy = 'previous' | 'orphans' | 'none'

export interface SalvageOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: (done: number, total: number) => void
}

/** A page that several others refer to is read for each: one of them is right. */
const visits = 4

/** Bytes of pages that are written in one go. */
const batchBytes = 4 * 1024 * 1024

/** Writes all that can be read of `file` into `out`, which is empty. */
export async function salvage(
  file: BoltFile,
  out: Database,
  options: SalvageOptions = {},
): Promise<SalvageReport> {
  const [best, second] = await startsOf(withoutErrors(file), options.signal)
  const copier = new Copier(out, options)
  if (best === undefined) {
    return { source: undefined, certain: false, ...copier.counts, losses: [], doubts: [] }
  }
  const { source, certain, sequence } = best
  await out.update((tx) => tx.setSequence(sequence))
  const { seen, losses, doubts } = await copier.copy(best)
  const afterSecond = second === undefined ? losses : await copier.fill(losses, second)
  const done = await copier.fillFromOrphans(afterSecond, best, seen)
  return { source, certain, ...copier.counts, losses: done, doubts }
}

class Copier {
  readonly counts = { buckets: 0, pairs: 0 }
  readonly #out: Database
  readonly #options: SalvageOptions
  #batch: Visit[] = []

  constructor(out: Database, options: SalvageOptions) {
    this.#out = out
    this.#options = options
  }

  /** Copies a whole state. Which pages it met, what of it is lost, and what is doubtful. */
  async copy(start: Start): Promise<{ seen: Uint8Array; losses: Loss[]; doubts: Problem[] }> {
    const losses: Loss[] = []
    const doubts: Problem[] = []
    const report = (problem: Problem): unknown =>
      problem.lost === undefined ? doubts.push(problem) : losses.push(...lossOf(problem))
    const walker = new Walker(start.ground, report, { visits })
    await this.#copyAll(walker.walk(start.root), start)
    return { seen: walker.seen, losses, doubts }
  }

  /**
   * Copies what `losses` miss from another state. The losses, with what was done about each, and
   * the parts of them that the other state misses, too.
   */
  async fill(losses: readonly Loss[], start: Start): Promise<readonly Loss[]> {
    if (losses.length === 0) return []
    const missing: Loss[] = []
    const walker = new Walker(start.ground, (problem) => missing.push(...lossOf(problem)), {
      visits,
    })
    await this.#copyAll(within(walker.walk(start.root), losses), start)
    return losses.flatMap((loss) => {
      const parts = missing.filter((other) => overlap(loss, other))
      if (parts.some((part) => contains(part, loss))) return [loss]
      return [{ ...loss, remedy: 'previous' }, ...parts]
    })
  }

  /** Copies what is still missing from leaves that nothing refers to. */
  async fillFromOrphans(
    losses: readonly Loss[],
    start: Start,
    seen: Uint8Array,
  ): Promise<readonly Loss[]> {
    const open = losses.filter(({ remedy }) => remedy === 'none')
    const orphans = await orphansFor(open, start, seen, this.#out)
    const walker = new Walker(start.ground, () => {}, { seen })
    for (const { range, page, items } of orphans) {
      const visit: Visit = { bucket: range.bucket, id: page, span: 1, items }
      await this.#copyAll([visit], start)
      await this.#copyAll(walker.below(visit), start)
    }
    const helped = new Set(orphans.map(({ range }) => range))
    return losses.map((loss) => (helped.has(loss) ? { ...loss, remedy: 'orphans' } : loss))
  }

  async #copyAll(found: Iterable<Visit>, { ground }: Start): Promise<void> {
    let [done, batched] = [0, 0]
    for (const visit of found) {
      this.#options.signal?.throwIfAborted()
      done += visit.span
      batched += visit.span * ground.pageSize
      if (visit.items !== undefined) this.#batch.push(visit)
      if (batched < batchBytes) continue
      batched = 0
      await this.#flush()
      this.#options.onProgress?.(done, ground.highWater)
    }
    await this.#flush()
  }

  async #flush(): Promise<void> {
    const batch = this.#batch
    this.#batch = []
    if (batch.length === 0) return
    await this.#out.update((tx) => {
      for (const visit of batch) this.#put(tx, visit)
    })
  }

  #put(root: Bucket, { bucket: names, items = [] }: Visit): void {
    const bucket = openBucket(root, names)
    if (bucket === undefined) return
    for (const { key, value, isBucket } of items) {
      if (bucket.get(key) !== undefined || bucket.bucket(key) !== undefined) continue
      if (isBucket) {
        const sequence = value.length < bucketHeaderSize ? 0n : value.readBigUInt64LE(8)
        bucket.createBucket(key).setSequence(sequence)
        this.counts.buckets++
      } else if (names.length > 0) {
        bucket.put(key, value)
        this.counts.pairs++
      }
    }
  }
}

/** The bucket of that path, made where it is missing; undefined when a pair is in its way. */
function openBucket(root: Bucket, names: readonly Buffer[]): Bucket | undefined {
  let bucket = root
  for (const name of names) {
    if (bucket.get(name) !== undefined) return undefined
    bucket = bucket.createBucketIfNotExists(name)
  }
  return bucket
}

const lossOf = ({ page = 0, message, lost }: Problem): Loss[] =>
  lost === undefined ? [] : [{ ...lost, page, message, remedy: 'none' }]

/** What of `visits` is in one of `ranges`. */
function* within(found: Iterable<Visit>, ranges: readonly Range[]): Generator<Visit> {
  for (const visit of found) {
    const { bucket, items } = visit
    yield {
      ...visit,
      items: items?.filter(({ key }) => ranges.some((range) => covers(range, bucket, key))),
    }
  }
}
