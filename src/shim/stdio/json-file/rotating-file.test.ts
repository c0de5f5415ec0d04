import assert from 'node:assert/strict'
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdtempDisposableSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { codeOf } from '#lib/errors/errors.ts'

import { RotatingFile } from './rotating-file.ts'

const scratch = () => mkdtempDisposableSync(join(tmpdir(), 'wharf-log-'))
const text = (path: string): string => readFileSync(path, 'utf8')

void suite('a log that is rotated', () => {
  void test('no file is larger than asked for, and the oldest goes', () => {
    using dir = scratch()
    const path = join(dir.path, 'deep/log')
    using log = new RotatingFile({ path, maxSize: 10, maxFile: 3 })
    log.write(['one\n', 'two\n'])
    log.write(['three\n', 'four\n', 'five\n', 'six\n', 'a long line\n', 'seven\n'])
    assert.deepEqual(
      ['', '.1', '.2'].map((end) => text(path + end)),
      ['seven\n', 'a long line\n', 'six\n'],
    )
    assert.ok(!existsSync(`${path}.3`))
    assert.ok(!existsSync(`${path}.next`))
  })

  void test('with one file it begins anew', () => {
    using dir = scratch()
    const path = join(dir.path, 'log')
    using log = new RotatingFile({ path, maxSize: 10, maxFile: 1 })
    log.write(['one\n', 'two\n', 'three\n'])
    assert.equal(text(path), 'three\n')
    assert.ok(!existsSync(`${path}.1`))
  })

  void test('without a size it grows', () => {
    using dir = scratch()
    const path = join(dir.path, 'log')
    using log = new RotatingFile({ path, maxSize: -1, maxFile: 3 })
    for (let n = 0; n < 1000; n += 1) log.write([`line ${n}\n`])
    assert.equal(text(path).split('\n').length, 1001)
  })

  void test('it goes on with what is there, and behind half a line with a new one', () => {
    using dir = scratch()
    const path = join(dir.path, 'log')
    const target = { path, maxSize: 100, maxFile: 2 }
    for (const line of ['first\n', 'second\n']) {
      using log = new RotatingFile(target)
      log.write([line])
    }
    appendFileSync(path, 'torn')
    using log = new RotatingFile(target)
    log.write(['third\n'])
    assert.equal(text(path), 'first\nsecond\ntorn\nthird\n')
  })

  void test('it goes on when its writer was killed while it rotated', () => {
    using dir = scratch()
    const path = join(dir.path, 'log')
    writeFileSync(path, 'one\n')
    linkSync(path, `${path}.1`)
    writeFileSync(`${path}.next`, '')
    using log = new RotatingFile({ path, maxSize: 8, maxFile: 3 })
    log.write(['two\n', 'three\n'])
    assert.deepEqual([text(path), text(`${path}.1`)], ['three\n', 'one\ntwo\n'])
  })

  void test('two do not write to one log, also after it was rotated', () => {
    using dir = scratch()
    const target = { path: join(dir.path, 'log'), maxSize: 5, maxFile: 2 }
    const refused = (err: unknown): boolean => codeOf(err) === 'failed_precondition'
    {
      using log = new RotatingFile(target)
      assert.throws(() => new RotatingFile(target), refused)
      log.write(['one\n', 'two\n'])
      assert.throws(() => new RotatingFile(target), refused)
    }
    using _ = new RotatingFile(target)
  })

  void test('what is no file is no log', () => {
    const target = { path: '/dev/null', maxSize: 5, maxFile: 2 }
    assert.throws(
      () => new RotatingFile(target),
      (err) => codeOf(err) === 'invalid_argument',
    )
  })
})
