import type { Descriptor } from '#core/images/images.ts'
import { refKey } from '#core/transfer/ref-key.ts'
import type { Progress, ReportProgress } from '#core/transfer/transfer.ts'

/** How often bytes are told, in ms. Source: upstream `core/transfer/local/progress.go`. */
const tellEvery = 300

interface Thing {
  readonly descriptor: Descriptor
  readonly name: string
  readonly parents: readonly string[]
  state: 'waiting' | 'downloading' | 'complete' | 'extracting' | 'extracted'
  /** Bytes that are there, and as many as were told of. */
  done: number
  told: number
}

/** Tells how far the parts of an image are: what happens to one at once, its bytes now and then. */
export class ProgressTracker implements Disposable {
  readonly #root: string
  readonly #report: ReportProgress
  readonly #things = new Map<string, Thing>()
  readonly #parents = new Map<string, Set<string>>()
  readonly #timer: NodeJS.Timeout

  /** @param root the name of the image: the parent of what has no other. */
  constructor(root: string, report: ReportProgress) {
    this.#root = root
    this.#report = report
    this.#timer = setInterval(() => this.#tellBytes(), tellEvery).unref()
  }

  /** `descriptor` will be loaded. */
  add(descriptor: Descriptor): void {
    this.#thing(descriptor)
  }

  /** `children` belong to `parent`. To be told before they are added. */
  belong(children: readonly Descriptor[], parent: Descriptor): void {
    for (const { digest } of children) {
      this.#parents.getOrInsertComputed(digest, () => new Set()).add(refKey(parent))
    }
  }

  /** So many bytes are there. */
  loading(descriptor: Descriptor, offset: number): void {
    const thing = this.#thing(descriptor)
    if (thing.state === 'waiting') thing.state = 'downloading'
    thing.done = offset
  }

  exists(descriptor: Descriptor): void {
    const { size: total } = descriptor
    const thing = this.#thing(descriptor)
    thing.state = 'complete'
    const { name } = thing
    this.#report({ event: 'already exists', name, progress: total, total, descriptor })
  }

  complete(descriptor: Descriptor): void {
    const thing = this.#thing(descriptor)
    if (thing.state === 'complete') return
    thing.state = 'complete'
    this.#tell(thing, 'complete', descriptor.size)
  }

  extracting(descriptor: Descriptor): void {
    const thing = this.#thing(descriptor)
    if (thing.state === 'extracting') return
    thing.state = 'extracting'
    this.#tell(thing, 'extracting', 0)
  }

  extracted(descriptor: Descriptor): void {
    const thing = this.#thing(descriptor)
    thing.state = 'extracted'
    this.#tell(thing, 'extracted', descriptor.size)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#tellBytes()
  }

  #thing(descriptor: Descriptor): Thing {
    const known = this.#things.get(descriptor.digest)
    if (known) return known
    const parents = [...(this.#parents.get(descriptor.digest) ?? [this.#root])]
    const name = refKey(descriptor)
    const thing: Thing = { descriptor, name, parents, state: 'waiting', done: 0, told: 0 }
    this.#things.set(descriptor.digest, thing)
    this.#tell(thing, 'waiting', 0)
    return thing
  }

  #tellBytes(): void {
    for (const thing of this.#things.values()) {
      if (thing.state !== 'downloading' || thing.done === thing.told) continue
      thing.told = thing.done
      this.#tell(thing, 'downloading', thing.done)
    }
  }

  #tell({ name, parents, descriptor }: Thing, event: Progress['event'], progress: number): void {
    this.#report({ event, name, parents, progress, total: descriptor.size, descriptor })
  }
}
