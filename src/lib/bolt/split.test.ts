import assert from 'node:assert/strict'
import { test } from 'node:test'

import { random } from '#testing/random.ts'

import { LeafNode } from './node.ts'
import { split } from './split.ts'

const pageSize = 4096

function leafOf(sizes: readonly number[]): LeafNode {
  const items = sizes.map((size, i) => ({
    key: Buffer.from(String(10_000 + i)),
    value: Buffer.alloc(size),
    isBucket: false,
  }))
  return new LeafNode(1, items)
}

const keysOf = (node: { count: number; keyAt(index: number): Buffer }): string[] =>
  Array.from({ length: node.count }, (_, i) => String(node.keyAt(i)))

test('the parts of a node hold what it held, fit into pages, and are worth their place', () => {
  const rand = random(1)
  for (let round = 0; round < 2000; round++) {
    const long = rand(3) === 0 ? 20_000 : 300
    const sizes = Array.from({ length: 1 + rand(100) }, () => rand(rand(10) === 0 ? long : 300))
    const node = leafOf(sizes)
    const parts = split(node, pageSize)
    assert.deepEqual(parts.flatMap(keysOf), keysOf(node))
    if (parts.length === 1) {
      assert.ok(node.size <= pageSize || node.count <= 4, `${node.count} pairs, ${node.size} bytes`)
      continue
    }
    for (const part of parts) {
      assert.ok(part.count >= 2)
      // Two pairs may be longer than a page; a third is there only when it would be alone else.
      if (part.size > pageSize) assert.ok(part.count <= 3, `${part.count} pairs`)
    }
  }
})

test('pairs of one size fill pages well but for the last, and none runs over', () => {
  for (const size of [100, 190, 500, 900, 1500]) {
    const parts = split(leafOf(Array.from({ length: 200 }, () => size)), pageSize)
    assert.ok(parts.every((part) => part.size <= pageSize))
    assert.ok(parts.slice(0, -1).every((part) => part.size > pageSize * 0.7))
  }
})
