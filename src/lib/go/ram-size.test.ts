import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { parseRamSize } from './ram-size.ts'

void suite('sizes of memory and disks', () => {
  void test('are powers of 1024', () => {
    for (const [text, bytes] of [
      ['0', 0],
      ['4096', 4096],
      ['32b', 32],
      ['1k', 1024],
      ['1KB', 1024],
      ['1KiB', 1024],
      ['16 MiB', 16 << 20],
      ['1.5g', 1.5 * 1024 ** 3],
      ['2T', 2 * 1024 ** 4],
      ['1pb', 1024 ** 5],
      ['0.3k', 307],
    ] as const) {
      assert.equal(parseRamSize(text), bytes, text)
    }
  })

  void test('are refused when they are none', () => {
    for (const text of ['', 'k', '-1', '1x', '1 k b', '1,5g', '0x10', '1kk']) {
      assert.throws(() => parseRamSize(text), { code: 'invalid_argument' }, text)
    }
  })
})
