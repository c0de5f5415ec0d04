import { toBytes } from '#lib/bytes/byte-string.ts'

import { isDirectory } from './file-kind.ts'
import { openChild } from '#sys/tree.ts'
import { isSameFile } from './same-file.ts'
import { type Node, nodesIn, withOpen } from './tree.ts'

/** What differs between two trees. `linked` is a file as it was, which has further names. */
export type Change =
  | { readonly kind: 'added' | 'modified' | 'linked'; readonly node: Node }
  | { readonly kind: 'deleted'; readonly path: string }

type Pair = readonly [before: Node | undefined, after: Node | undefined]

/**
 * Walks two trees at once, given as open directories, and gives their differences in the order of
 * names. A directory that is deleted, or has become something else, is one difference.
 *
 * @throws {SystemError}
 */
export function* changes(lower: number, upper: number): Generator<Change> {
  yield* changesIn(nodesIn(lower, ''), nodesIn(upper, ''))
}

function* changesIn(lower: readonly Node[], upper: readonly Node[]): Generator<Change> {
  for (const [before, after] of pairs(lower, upper)) {
    if (!after) {
      if (before) yield { kind: 'deleted', path: before.path }
      continue
    }
    const kind = kindOf(before, after)
    if (kind) yield { kind, node: after }
    if (isDirectory(after.stat)) yield* changesBelow(before, after)
  }
}

function kindOf(
  before: Node | undefined,
  after: Node,
): 'added' | 'modified' | 'linked' | undefined {
  if (!before) return 'added'
  if (!isSameFile(before, after)) return 'modified'
  return !isDirectory(after.stat) && after.stat.nlink > 1 ? 'linked' : undefined
}

function* changesBelow(before: Node | undefined, after: Node): Generator<Change> {
  yield* withOpen(openChild(after.dir, after.name), function* (fd) {
    const upper = nodesIn(fd, after.path)
    if (!before || !isDirectory(before.stat)) {
      yield* changesIn([], upper)
      return
    }
    yield* withOpen(openChild(before.dir, before.name), function* (beforeFd) {
      yield* changesIn(nodesIn(beforeFd, before.path), upper)
    })
  })
}

/** Files of both sides by name; both are sorted. */
function* pairs(lower: readonly Node[], upper: readonly Node[]): Generator<Pair> {
  for (let i = 0, j = 0; i < lower.length || j < upper.length; ) {
    const [before, after] = [lower[i], upper[j]]
    const order = compareNames(before, after)
    if (order <= 0) i++
    if (order >= 0) j++
    yield [order <= 0 ? before : undefined, order >= 0 ? after : undefined]
  }
}

/** A side that is over comes last. */
function compareNames(a: Node | undefined, b: Node | undefined): number {
  if (!a || !b) return a ? -1 : 1
  return a.name === b.name ? 0 : Buffer.compare(toBytes(a.name), toBytes(b.name))
}
