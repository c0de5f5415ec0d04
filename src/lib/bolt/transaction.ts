import { lowerBound } from './bytes.ts'
import type { Meta } from './meta.ts'
import {
  BranchNode,
  childIndex,
  copyNode,
  type Item,
  LeafNode,
  type Node,
  nodeOf,
  type Tree,
} from './node.ts'
import { type Span, spansOf } from './outline.ts'
import type { Pager } from './pager.ts'

/**
 * What a group of update functions has changed since the last durable state, in memory. Each
 * function is an epoch: see `Node` for how one is undone.
 */
export class Transaction {
  readonly pager: Pager
  readonly base: Tree
  root: Tree
  readonly #highWater: number
  #epoch = 0
  readonly #freed: Span[] = []

  constructor(pager: Pager, meta: Meta) {
    this.pager = pager
    this.#highWater = meta.highWater
    this.base = { epoch: 0, root: meta.root, sequence: meta.sequence }
    this.root = this.base
  }

  get epoch(): number {
    return this.#epoch
  }

  get changed(): boolean {
    return this.root !== this.base
  }

  get freed(): readonly Span[] {
    return this.#freed
  }

  /** Runs `step` as a new epoch. When it throws, the state is what it was before. */
  attempt<T>(step: () => T): T {
    const { root } = this
    const freed = this.#freed.length
    this.#epoch++
    try {
      return step()
    } catch (err) {
      this.root = root
      this.#freed.length = freed
      throw err
    }
  }

  /** A node this epoch may change in place of `ref`. The caller puts it where `ref` was. */
  own(ref: Tree['root']): Node {
    if (typeof ref === 'number') {
      const page = this.pager.page(ref)
      this.#freed.push({ start: page.id, span: page.span })
      return nodeOf(page, this.#epoch)
    }
    if ('buf' in ref) return nodeOf(ref, this.#epoch)
    return ref.epoch === this.#epoch ? ref : copyNode(ref, this.#epoch)
  }

  /** Puts `item` into a tree of this epoch, in place of what has its key. */
  set(tree: Tree, item: Item): void {
    const { leaf, index, found, path } = this.#seek(tree, item.key)
    leaf.items.splice(index, found ? 1 : 0, item)
    if (leaf.count > maxElements) this.#halve(tree, leaf, path)
  }

  /** Takes the pair of `key` out of a tree of this epoch, if it is there. */
  remove(tree: Tree, key: Buffer): void {
    const { leaf, index, found } = this.#seek(tree, key)
    if (found) leaf.items.splice(index, 1)
  }

  /** Gives up every page of `tree`, nested buckets included. */
  release(tree: Tree): void {
    for (const span of spansOf(this.pager, tree, this.#highWater)) this.#freed.push(span)
  }

  /** Gives up pages that are no part of a tree. */
  releasePages(start: number, span: number): void {
    this.#freed.push({ start, span })
  }

  /** Owns the nodes from the root of `tree` to where `key` is or would be. */
  #seek(tree: Tree, key: Buffer): Place {
    let node = this.own(tree.root)
    tree.root = node
    const path: Step[] = []
    while (!node.leaf) {
      const branch: BranchNode = node
      const at = childIndex(branch, key)
      node = this.own(branch.childAt(at))
      branch.children[at] = node
      path.push({ branch, at })
    }
    const leaf = node
    const found = leaf.search(key)
    return { leaf, index: lowerBound(found), found: found >= 0, path }
  }

  /** Cuts a node with many elements in two, and the branches above it that get many by that. */
  #halve(tree: Tree, large: Node, path: readonly Step[]): void {
    let left = large
    for (const { branch, at } of path.toReversed()) {
      const right = splitOff(left)
      branch.keys.splice(at + 1, 0, right.keyAt(0))
      branch.children.splice(at + 1, 0, right)
      if (branch.count <= maxElements) return
      left = branch
    }
    const right = splitOff(left)
    tree.root = new BranchNode(this.#epoch, [left.keyAt(0), right.keyAt(0)], [left, right])
  }
}

/**
 * How many elements a node in memory may have. Pages come out of nodes of any size, but adding to
 * long lists is slow.
 */
const maxElements = 512

/** A branch on the way to a leaf, and which of its children the way takes. */
interface Step {
  readonly branch: BranchNode
  readonly at: number
}

/** Where in a tree a key is or would be. */
interface Place {
  readonly leaf: LeafNode
  readonly index: number
  readonly found: boolean
  readonly path: readonly Step[]
}

/** Takes the second half of `node` out of it. */
function splitOff(node: Node): Node {
  const half = node.count >>> 1
  if (node.leaf) return new LeafNode(node.epoch, node.items.splice(half))
  return new BranchNode(node.epoch, node.keys.splice(half), node.children.splice(half))
}
