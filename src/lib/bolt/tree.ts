import { dataLoss } from '#lib/errors/errors.ts'

import { lowerBound, readUint64, writeUint64 } from './bytes.ts'
import { childIndex, type Item, type Node, type Ref, type Tree } from './node.ts'
import { bucketHeaderSize, type Page, parsePage } from './page.ts'
import type { Pager } from './pager.ts'

/** Deeper than any sound bucket: a loop of pages ends here. */
const maxDepth = 64

/** The page or changed node behind `ref`. */
export function resolve(pager: Pager, ref: Ref): Page | Node {
  return typeof ref === 'number' ? pager.page(ref) : ref
}

/** The pair of `key` in the bucket; undefined when there is none. */
export function find(pager: Pager, tree: Tree, key: Buffer): Item | undefined {
  let block = resolve(pager, tree.root)
  for (let depth = 0; !block.leaf; depth++) {
    if (depth > maxDepth) throw looped()
    block = resolve(pager, block.childAt(childIndex(block, key)))
  }
  const leaf = block
  const index = lowerBound(leaf.count, (i) => leaf.keyAt(i), key)
  if (index === leaf.count || !leaf.keyAt(index).equals(key)) return undefined
  return leaf.itemAt(index)
}

/** All pairs in key order, from the first that is not below `from`. */
export function* walk(pager: Pager, ref: Ref, from?: Buffer, depth = 0): Generator<Item> {
  if (depth > maxDepth) throw looped()
  const block = resolve(pager, ref)
  if (block.leaf) {
    const start = from === undefined ? 0 : lowerBound(block.count, (i) => block.keyAt(i), from)
    for (let i = start; i < block.count; i++) yield block.itemAt(i)
    return
  }
  const start = from === undefined ? 0 : childIndex(block, from)
  for (let i = start; i < block.count; i++) {
    yield* walk(pager, block.childAt(i), i === start ? from : undefined, depth + 1)
  }
}

/**
 * Every page under `tree` that takes room in the file, nested buckets included.
 *
 * @throws `data_loss` when there are more than `limit`, which is more than the file has.
 */
export function* pagesOf(pager: Pager, tree: Tree, limit: number): Generator<Page> {
  const stack: Ref[] = [tree.root]
  let left = limit
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const block = resolve(pager, next)
    if ('buf' in block && block.id !== 0) {
      if (left-- === 0) throw looped()
      yield block
    }
    for (let i = 0; i < block.count; i++) {
      if (!block.leaf) stack.push(block.childAt(i))
      else if (block.isBucketAt(i)) stack.push(treeOf(block.itemAt(i)).root)
    }
  }
}

/** The nested bucket in `item`. */
export function treeOf(item: Item): Tree {
  if (item.tree !== undefined) return item.tree
  const { value } = item
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
