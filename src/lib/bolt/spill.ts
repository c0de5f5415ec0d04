import { BranchNode, LeafNode, type Node, type Ref, type Tree } from './node.ts'
import { BranchPage, encodeBranch, encodeLeaf, LeafPage, type Page } from './page.ts'
import { isSmall, isStunted, join, split } from './split.ts'
import type { Transaction } from './transaction.ts'
import { bucketValue } from './tree.ts'

/** Gives `span` free pages in a row and says where they start. */
export type Allocate = (span: number) => number

/** The changed nodes of a transaction as pages. */
export interface Spilled {
  /** The page of the root bucket. */
  readonly root: number
  readonly pages: readonly Page[]
}

/**
 * Turns what `tx` changed into pages: joins nodes that became small, cuts those that became large,
 * and writes each, children first, to newly allocated pages. The transaction is used up.
 */
export function spill(tx: Transaction, allocate: Allocate): Spilled {
  const spiller = new Spiller(tx, allocate)
  return { root: spiller.rootPage(tx.root), pages: spiller.pages }
}

class Spiller {
  readonly pages: Page[] = []
  readonly #tx: Transaction
  readonly #pageSize: number
  readonly #allocate: Allocate

  constructor(tx: Transaction, allocate: Allocate) {
    this.#tx = tx
    this.#pageSize = tx.pager.pageSize
    this.#allocate = allocate
  }

  rootPage(tree: Tree): number {
    const { root } = tree
    if (typeof root === 'number') return root
    if ('buf' in root) throw new TypeError('the root is never inline')
    return this.#place(this.#settleRoot(root))
  }

  /** The value of a changed nested bucket, its pages written. */
  #bucketValue({ root, sequence }: Tree): Buffer {
    if (typeof root === 'number') return bucketValue(root, sequence)
    if ('buf' in root) return bucketValue(0, sequence, root.buf)
    const settled = this.#settleRoot(root)
    if (typeof settled === 'number' || !settled.leaf || !this.#fitsInline(settled)) {
      return bucketValue(this.#place(settled), sequence)
    }
    const inline = Buffer.allocUnsafe(settled.size)
    encodeLeaf(inline, 0, 1, settled.items)
    return bucketValue(0, sequence, inline)
  }

  /** bbolt's rule: no nested buckets, at most a quarter of a page. */
  #fitsInline(leaf: LeafNode): boolean {
    return leaf.size <= this.#pageSize / 4 && leaf.items.every((item) => !item.isBucket)
  }

  #settleRoot(node: Node): number | Node {
    this.#settle(node)
    let root: Ref = node
    while (typeof root !== 'number' && !root.leaf && root.count === 1) {
      const child: Ref = root.childAt(0)
      if (typeof child !== 'number' && 'buf' in child)
        throw new TypeError('a child is never inline')
      root = child
    }
    if (typeof root === 'number') return root
    if (root.count === 0) return new LeafNode(root.epoch, [])
    for (;;) {
      const parts: Node[] = split(root, this.#pageSize)
      if (parts.length === 1) return root
      root = new BranchNode(
        root.epoch,
        parts.map((part) => part.keyAt(0)),
        parts,
      )
    }
  }

  /** Brings everything below `node` to its final size; `node` itself is for the caller to cut. */
  #settle(node: Node): void {
    if (node.leaf) {
      for (const [i, { key, tree }] of node.items.entries()) {
        if (tree === undefined) continue
        node.items[i] = { key, value: this.#bucketValue(tree), isBucket: true }
      }
      return
    }
    for (const child of node.children) if (isNode(child)) this.#settle(child)
    const parts = this.#joinSmall(node).flatMap((child) => this.#cut(child))
    node.keys = parts.map((part) => part.key)
    node.children = parts.map((part) => part.ref)
  }

  /** The children of `branch` without the empty ones, the small ones joined with a neighbour. */
  #joinSmall(branch: BranchNode): Child[] {
    const all = branch.children.map((ref, i) => ({ key: branch.keyAt(i), ref }))
    const rest = all.filter(({ ref }) => !isNode(ref) || ref.count > 0)
    for (let i = 0; i < rest.length; i++) {
      const child = rest[i]
      if (child === undefined || !isNode(child.ref) || !isSmall(child.ref, this.#pageSize)) continue
      const at = this.#canJoin(rest[i - 1], child.ref) ? i - 1 : i
      const other = at < i ? rest[at] : rest[i + 1]
      if (other === undefined || (at === i && !this.#canJoin(other, child.ref))) continue
      const otherNode = this.#tx.own(other.ref)
      const joined = at < i ? join(otherNode, child.ref) : join(child.ref, otherNode)
      rest.splice(at, 2, { key: at < i ? other.key : child.key, ref: joined })
      i = at - 1
    }
    return rest
  }

  /** A child as what it becomes when it is too large for a page. */
  #cut(child: Child): readonly Child[] {
    if (!isNode(child.ref)) return [child]
    return split(child.ref, this.#pageSize).map((ref) => ({ key: ref.keyAt(0), ref }))
  }

  #canJoin(other: Child | undefined, node: Node): boolean {
    if (other === undefined) return false
    if (isStunted(node)) return true
    const { ref } = other
    const size = isNode(ref) ? ref.size : usedBytes(this.#page(ref))
    return size + node.size <= this.#pageSize
  }

  #page(ref: number | Page): Page {
    return typeof ref === 'number' ? this.#tx.pager.page(ref) : ref
  }

  /** Writes a settled node and what it holds to pages, and says where it is. */
  #place(ref: Ref): number {
    if (typeof ref === 'number') return ref
    if ('buf' in ref) throw new TypeError('an inline page has no place')
    if (ref.leaf) {
      const { id, span, buf } = this.#newPage(ref.size)
      encodeLeaf(buf, id, span, ref.items)
      this.pages.push(new LeafPage(id, buf))
      return id
    }
    const children = ref.children.map((child) => this.#place(child))
    const { id, span, buf } = this.#newPage(ref.size)
    encodeBranch(buf, id, span, ref.keys, children)
    this.pages.push(new BranchPage(id, buf))
    return id
  }

  #newPage(size: number): { id: number; span: number; buf: Buffer } {
    const span = Math.ceil(size / this.#pageSize)
    const buf = Buffer.allocUnsafeSlow(span * this.#pageSize)
    return { id: this.#allocate(span), span, buf }
  }
}

interface Child {
  readonly key: Buffer
  readonly ref: Ref
}

const isNode = (ref: Ref): ref is Node => typeof ref !== 'number' && !('buf' in ref)

/** Bytes of a page that say something. */
function usedBytes(page: Page): number {
  const last = page.count - 1
  if (last < 0) return 16
  const key = page.keyAt(last)
  const tail = page.leaf ? page.itemAt(last).value : key
  return tail.byteOffset - page.buf.byteOffset + tail.length
}
