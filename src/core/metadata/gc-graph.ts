import { type Node, nodeId } from './gc-node.ts'

/** What one object holds. */
export interface Holder {
  /** By what it is: its parent, target or root file system. A flat lease follows only these. */
  readonly built: readonly Node[]
  /** By its labels. */
  readonly labelled: readonly Node[]
}

/** Who holds whom, and what can be reached from the roots. It only ever marks more. */
export class Graph {
  readonly #holders = new Map<string, Holder>()
  /** What an object holds because the other one says so. */
  readonly #held = new Map<string, Node[]>()
  readonly #queue: Node[] = []
  readonly #marked = new Set<string>()
  readonly #followed = new Set<string>()
  readonly #followedFlat = new Set<string>()

  /** Ids of what is reached so far, whether it is there or not. */
  get marked(): ReadonlySet<string> {
    return this.#marked
  }

  /** Says what `object` holds, instead of what was said before. */
  add(object: Node, holder: Holder): void {
    const id = nodeId(object)
    // Most objects hold nothing.
    if (holder.built.length + holder.labelled.length > 0) this.#holders.set(id, holder)
    else this.#holders.delete(id)
  }

  /** Says that `parent` holds `child`, whatever else it holds. */
  hold(parent: Node, child: Node): void {
    this.#held.getOrInsertComputed(nodeId(parent), () => []).push(child)
  }

  /** Keeps `object`, and what it holds. */
  root(object: Node): void {
    this.#queue.push(object)
  }

  /** Follows `object` again, which holds something else than it did. */
  again(object: Node): void {
    this.#followed.delete(nodeId(object))
    this.#queue.push(object)
  }

  /** Marks what the roots lead to that were named since the last time. */
  *follow(): Generator<void> {
    const queue = this.#queue
    for (let next = queue.pop(); next; next = queue.pop()) {
      yield
      const id = nodeId(next)
      const seen = next.flat ? this.#followedFlat : this.#followed
      if (seen.has(id)) continue
      seen.add(id)
      this.#marked.add(id)
      if (next.flat) {
        const built = this.#holders.get(id)?.built ?? []
        for (const held of built) queue.push({ ...held, flat: true })
      } else queue.push(...this.#heldBy(id))
    }
  }

  /** `objects`, each before what it holds; of those that hold each other, one is first. */
  *order(objects: Iterable<Node>): Generator<void, Node[]> {
    const left = new Map(Array.from(objects, (object) => [nodeId(object), object]))
    const ordered: Node[] = []
    for (const [id, object] of left) {
      left.delete(id)
      // What is on the path waits until all that it holds is behind it.
      const path = [{ object, held: this.#heldBy(id).values() }]
      for (let top = path.at(-1); top; top = path.at(-1)) {
        yield
        const next = top.held.next()
        if (next.done) ordered.push(...path.splice(-1).map((step) => step.object))
        else {
          const nextId = nodeId(next.value)
          const found = left.get(nextId)
          if (found && left.delete(nextId)) {
            path.push({ object: found, held: this.#heldBy(nextId).values() })
          }
        }
      }
    }
    return ordered.toReversed()
  }

  /** Without a record it holds nothing by itself; what says that it is held by it, still is. */
  #heldBy(id: string): Node[] {
    const { built = [], labelled = [] } = this.#holders.get(id) ?? {}
    return [...(this.#held.get(id) ?? []), ...built, ...labelled]
  }
}
