import { binarySearch, compareBytes } from './bytes.ts'
import {
  type BranchPage,
  elementSize,
  type LeafElement,
  type Page,
  pageHeaderSize,
} from './page.ts'

/**
 * What a transaction has changed, in memory. A node belongs to the epoch (one update function) that
 * made it and is changed by that epoch alone; a later one copies it first. So the state before a
 * function is kept by keeping its root, and undoing is going back to it.
 */
export type Node = LeafNode | BranchNode

/** Where a subtree is: a page on disk by its id, a page inside a value, or a changed node. */
export type Ref = number | Page | Node

/** A bucket: its pairs and its counter. Like nodes, changed only by the epoch that made it. */
export interface Tree {
  readonly epoch: number
  root: Ref
  sequence: bigint
}

/** One pair of a changed leaf. Never changed, only replaced. */
export interface Item extends LeafElement {
  /** The nested bucket when it was changed in memory; `value` is out of date then. */
  readonly tree?: Tree
}

export class LeafNode {
  readonly leaf = true
  readonly epoch: number
  readonly items: Item[]

  constructor(epoch: number, items: Item[]) {
    this.epoch = epoch
    this.items = items
  }

  get count(): number {
    return this.items.length
  }

  keyAt(index: number): Buffer {
    return at(this.items, index).key
  }

  /** The index of `key`, or `~i` when it would be inserted at `i`. */
  search(key: Uint8Array): number {
    return binarySearch(this.count, (i) => compareBytes(this.keyAt(i), key))
  }

  itemAt(index: number): Item {
    return at(this.items, index)
  }

  valueAt(index: number): Buffer {
    return at(this.items, index).value
  }

  isBucketAt(index: number): boolean {
    return at(this.items, index).isBucket
  }

  /** Bytes on disk. */
  get size(): number {
    return this.items.reduce((sum, item) => sum + leafItemSize(item), pageHeaderSize)
  }
}

export class BranchNode {
  readonly leaf = false
  readonly epoch: number
  keys: Buffer[]
  children: Ref[]

  constructor(epoch: number, keys: Buffer[], children: Ref[]) {
    this.epoch = epoch
    this.keys = keys
    this.children = children
  }

  get count(): number {
    return this.children.length
  }

  keyAt(index: number): Buffer {
    return at(this.keys, index)
  }

  /** The index of `key`, or `~i` when it would be inserted at `i`. */
  search(key: Uint8Array): number {
    return binarySearch(this.count, (i) => compareBytes(this.keyAt(i), key))
  }

  childAt(index: number): Ref {
    return at(this.children, index)
  }

  /** Bytes on disk. */
  get size(): number {
    return this.keys.reduce((sum, key) => sum + elementSize + key.length, pageHeaderSize)
  }
}

/** Bytes one pair takes in a leaf. */
export const leafItemSize = (item: Item): number =>
  elementSize + item.key.length + item.value.length

/**
 * The node a page says, belonging to `epoch`. Each write does this for every page on its way: plain
 * loops take half as long as `Array.from`.
 */
export function nodeOf(page: Page, epoch: number): Node {
  const { count } = page
  if (page.leaf) {
    const items: Item[] = []
    for (let i = 0; i < count; i++) items.push(page.itemAt(i))
    return new LeafNode(epoch, items)
  }
  const keys: Buffer[] = []
  const children: Ref[] = []
  for (let i = 0; i < count; i++) {
    keys.push(page.keyAt(i))
    children.push(page.childAt(i))
  }
  return new BranchNode(epoch, keys, children)
}

/** A copy of `node` that belongs to `epoch`; what hangs below is shared. */
export function copyNode(node: Node, epoch: number): Node {
  if (node.leaf) return new LeafNode(epoch, [...node.items])
  return new BranchNode(epoch, [...node.keys], [...node.children])
}

/** The child under which `key` is or would be. */
export function childIndex(branch: BranchPage | BranchNode, key: Uint8Array): number {
  const found = branch.search(key)
  return found < 0 ? Math.max(0, ~found - 1) : found
}

function at<T>(list: readonly T[], index: number): T {
  const item = list[index]
  if (item === undefined) throw new RangeError(`no element ${index} of ${list.length}`)
  return item
}
