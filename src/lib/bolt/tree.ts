import { dataLoss } from '#lib/errors/errors.ts'

import { lowerBound, readUint64, writeUint64 } from './bytes.ts'
import { type BranchNode, childIndex, type Item, type LeafNode, type Node } from './node.ts'
import type { Ref, Tree } from './node.ts'
import { type BranchPage, bucketHeaderSize, type LeafPage, type Page, parsePage } from './page.ts'
import type { Pager } from './pager.ts'

/** Deeper than any sound bucket: a loop of pages ends here. */
const maxDepth = 64

/** Where pairs are: a page, or what one was changed into. */
export type Leaf = LeafPage | LeafNode
type Branch = BranchPage | BranchNode

/** The page or changed node behind `ref`. */
export function resolve(pager: Pager, ref: Ref): Page | Node {
  return typeof ref === 'number' ? pager.page(ref) : ref
}

/** The leaf in which `key` is or would be. */
export function leafOf(pager: Pager, tree: Tree, key: Uint8Array): Leaf {
  let block = resolve(pager, tree.root)
  for (let depth = 0; !block.leaf; depth++) {
    if (depth > maxDepth) throw looped()
    block = resolve(pager, block.childAt(childIndex(block, key)))
  }
  return block
}

/** The pair of `key` in the bucket; undefined when there is none. */
export function find(pager: Pager, tree: Tree, key: Buffer): Item | undefined {
  const leaf = leafOf(pager, tree, key)
  const index = leaf.search(key)
  return index < 0 ? undefined : leaf.itemAt(index)
}

/** The nested bucket in the pair at `index`, which is one. */
export function treeAt(leaf: Leaf, index: number): Tree {
  return 'items' in leaf ? treeOf(leaf.itemAt(index)) : parseTree(leaf.valueAt(index))
}

/** Goes through all pairs in key order, from the first that is not below `from`. */
export class Cursor {
  readonly #pager: Pager
  readonly #path: { readonly branch: Branch; at: number }[] = []
  #leaf: Leaf
  #index: number

  constructor(pager: Pager, ref: Ref, from?: Buffer) {
    this.#pager = pager
    this.#leaf = this.#descend(ref, from)
    this.#index = (from === undefined ? 0 : lowerBound(this.#leaf.search(from))) - 1
  }

  /** The leaf of the pair it is at. */
  get leaf(): Leaf {
    return this.#leaf
  }

  /** Where in its leaf the pair is. */
  get index(): number {
    return this.#index
  }

  /** Goes to the next pair, at first to the first one; false at the end. */
  next(): boolean {
    this.#index++
    while (this.#index >= this.#leaf.count) {
      const step = this.#path.at(-1)
      if (step === undefined) return false
      if (++step.at >= step.branch.count) this.#path.pop()
      else {
        this.#leaf = this.#descend(step.branch.childAt(step.at))
        this.#index = 0
      }
    }
    return true
  }

  #descend(ref: Ref, from?: Buffer): Leaf {
    let block = resolve(this.#pager, ref)
    while (!block.leaf) {
      if (this.#path.length > maxDepth) throw looped()
      const at = from === undefined ? 0 : childIndex(block, from)
      this.#path.push({ branch: block, at })
      block = resolve(this.#pager, block.childAt(at))
    }
    return block
  }
}

/** The nested bucket in `item`. */
export function treeOf(item: Item): Tree {
  return item.tree ?? parseTree(item.value)
}

function parseTree(value: Buffer): Tree {
  if (value.length < bucketHeaderSize) throw dataLoss('a bucket is cut short')
  const root = readUint64(value, 0)
  const sequence = value.readBigUInt64LE(8)
  if (root !== 0) return { epoch: 0, root, sequence }
  const inline = parsePage(0, value.subarray(bucketHeaderSize))
  if (!inline.leaf) throw dataLoss('an inline bucket is no leaf')
  return { epoch: 0, root: inline, sequence }
}

/** The value that stands for a nested bucket in its parent's leaf. */
export function bucketValue(root: number, sequence: bigint, inline?: Buffer): Buffer {
  const value = Buffer.allocUnsafe(bucketHeaderSize + (inline?.length ?? 0))
  writeUint64(value, root, 0)
  value.writeBigUInt64LE(sequence, 8)
  if (inline !== undefined) value.set(inline, bucketHeaderSize)
  return value
}

const looped = () => dataLoss('pages are nested in a loop')
