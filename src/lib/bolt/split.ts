import { BranchNode, LeafNode, leafItemSize, type Node } from './node.ts'
import { elementSize, pageHeaderSize } from './page.ts'

/** What a page has to hold to be worth its place (as in bbolt). */
const least = 2

/**
 * Cuts a node that is larger than a page into nodes that are not, as far as its pairs allow: one
 * with few of them stays whole, and runs on into the pages that follow. A container with its long
 * spec is one page in a row, and not two with a branch above them.
 */
export function split(node: Node, pageSize: number): Node[] {
  if (node.size <= pageSize || node.count <= 2 * least) return [node]
  const sizes = node.leaf
    ? node.items.map(leafItemSize)
    : node.keys.map((key) => elementSize + key.length)
  const cuts = cutPoints(sizes, pageSize)
  return cuts.map((start, i) => slice(node, start, cuts[i + 1] ?? node.count))
}

/** `left` and `right`, which follow each other, as one. */
export function join(left: Node, right: Node): Node {
  if (left.leaf && right.leaf) return new LeafNode(left.epoch, [...left.items, ...right.items])
  if (left.leaf || right.leaf) throw new TypeError('a leaf beside a branch')
  const keys = [...left.keys, ...right.keys]
  return new BranchNode(left.epoch, keys, [...left.children, ...right.children])
}

/** Whether a node ought to be joined with a neighbour (a quarter of a page, as in bbolt). */
export const isSmall = (node: Node, pageSize: number): boolean =>
  isStunted(node) || node.size <= pageSize / 4

/** Whether a node has to be joined with a neighbour even when the two must be cut again. */
export const isStunted = (node: Node): boolean => !node.leaf && node.count < least

/** Where the parts start: each at most a page, all about as full, none with too few elements. */
function cutPoints(sizes: readonly number[], pageSize: number): number[] {
  const total = sizes.reduce((sum, size) => sum + size, 0)
  const room = pageSize - pageHeaderSize
  const target = total / Math.ceil(total / room)
  const cuts = [0]
  let start = 0
  let used = 0
  for (const [i, size] of sizes.entries()) {
    const full = used + size > room || used >= target
    if (full && i - start >= least) {
      cuts.push(i)
      start = i
      used = 0
    }
    used += size
  }
  return sizes.length - start >= least ? cuts : withLongerEnd(cuts, sizes.length)
}

/** Lets the last part begin earlier, or be part of the one before when that would have too few. */
function withLongerEnd(cuts: readonly number[], length: number): number[] {
  const rest = cuts.slice(0, -1)
  const start = length - least
  return start - (rest.at(-1) ?? 0) >= least ? [...rest, start] : rest
}

function slice(node: Node, start: number, end: number): Node {
  if (node.leaf) return new LeafNode(node.epoch, node.items.slice(start, end))
  return new BranchNode(node.epoch, node.keys.slice(start, end), node.children.slice(start, end))
}
