import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { LineSplitter } from './line-splitter.ts'

const texts = (pieces: readonly { readonly text: string }[]): string[] =>
  pieces.map(({ text }) => text)

void suite('lines of a stream', () => {
  void test('a line has the time when it began, however it comes', () => {
    const splitter = new LineSplitter()
    assert.deepEqual(splitter.split(Buffer.from('a\nb'), '1'), [{ text: 'a\n', time: '1' }])
    assert.deepEqual(splitter.split(Buffer.from('c'), '2'), [])
    assert.deepEqual(splitter.split(Buffer.from('\n\nd\n'), '3'), [
      { text: 'bc\n', time: '1' },
      { text: '\n', time: '3' },
      { text: 'd\n', time: '3' },
    ])
    assert.deepEqual(splitter.end(), [])
  })

  void test('what has no end of line at the end has none in the log', () => {
    const splitter = new LineSplitter()
    splitter.split(Buffer.from('prompt> '), '1')
    assert.deepEqual(splitter.end(), [{ text: 'prompt> ', time: '1' }])
    assert.deepEqual(splitter.end(), [])
  })

  void test('a long line is cut where Docker cuts it', () => {
    const size = 16 * 1024
    for (const [length, expected] of [
      [size - 1, [size]],
      [size, [size, 1]],
      [size + 1, [size, 2]],
      [3 * size + 5, [size, size, size, 6]],
    ] as const) {
      const splitter = new LineSplitter()
      const line = Buffer.from(`${'x'.repeat(length)}\n`)
      const pieces = splitter.split(line.subarray(0, 100), '1')
      pieces.push(...splitter.split(line.subarray(100), '2'))
      assert.deepEqual(
        pieces.map(({ text }) => text.length),
        expected,
      )
      assert.deepEqual(new Set(pieces.map(({ time }) => time)), new Set(['1']))
    }
  })

  void test('no character is cut, in whatever chunks it comes', () => {
    const line = 'ä€😀'.repeat(10_000)
    for (const chunk of [1000, 4099, 65_536]) {
      for (const shift of ['', 'x', 'xx', 'xxx']) {
        const splitter = new LineSplitter()
        const bytes = Buffer.from(`${shift}${line}\n`)
        const pieces: string[] = []
        for (let at = 0; at < bytes.length; at += chunk) {
          pieces.push(...texts(splitter.split(bytes.subarray(at, at + chunk), '')))
        }
        assert.equal(pieces.join(''), `${shift}${line}\n`)
        assert.ok(pieces.length > 1)
        for (const piece of pieces) assert.ok(Buffer.byteLength(piece) <= 16 * 1024)
      }
    }
  })

  void test('bytes that are no text are replaced, and cut all the same', () => {
    const splitter = new LineSplitter()
    const pieces = texts(splitter.split(Buffer.alloc(40_000, 0x80), ''))
    assert.deepEqual(
      pieces.map(({ length }) => length),
      [16_384, 16_384],
    )
    assert.equal(texts(splitter.end())[0], '\ufffd'.repeat(40_000 - 2 * 16_384))
  })
})
