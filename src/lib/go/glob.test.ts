import assert from 'node:assert/strict'
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { glob, matches } from './glob.ts'

void suite('file name patterns', () => {
  // From Go 1.26's filepath.Match; undefined where it says "syntax error in pattern".
  const golden: readonly (readonly [string, string, boolean | undefined])[] = [
    ['*.toml', '.hid.toml', true],
    ['*.toml', 'a.toml', true],
    ['**', 'x', true],
    ['a**b', 'ab', true],
    ['{a,b}*', 'a1', false],
    ['{a,b}*', '{a,b}1', true],
    ['[a-c]?', 'b1', true],
    ['[^a-c]?', 'b1', false],
    ['[^a-c]?', 'é1', true],
    ['?', '😀', true],
    ['\\*x', '*x', true],
    ['\\*x', 'ax', false],
    ['[c-a]', 'b', false],
    ['[^c-a]', 'b', true],
    ['[]a]', ']', undefined],
    ['[-]', '-', undefined],
    ['[\\-x]', '-', true],
    ['[\\]]', ']', true],
    ['[', '[', undefined],
    ['[a', 'a', undefined],
    ['a[', 'ab', undefined],
    ['a\\', 'a', undefined],
    ['[a-]', 'a', undefined],
    ['[a-b-c]', 'b', undefined],
    ['*[', 'x', undefined],
    ['', '', true],
    ['[!a]', '!', true],
    ['x.y', 'xzy', false],
    ['[a^]', '^', true],
  ]

  void test('match what they match in Go', () => {
    for (const [pattern, name, expected] of golden) {
      if (expected === undefined) {
        assert.throws(() => matches(pattern, name), {
          code: 'invalid_argument',
          message: `${pattern}: syntax error in pattern: invalid argument`,
        })
      } else assert.equal(matches(pattern, name), expected, `${pattern} against ${name}`)
    }
  })

  void test('find files, hidden ones too, at the depth they say', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'glob-'))
    await mkdir(join(dir.path, 'b', 'c'), { recursive: true })
    for (const name of ['B.toml', '.h.toml', 'a9.toml', 'a10.toml', 'b/d.toml', 'b/c/e.toml']) {
      await writeFile(join(dir.path, name), '')
    }
    const found = async (pattern: string) =>
      (await glob(join(dir.path, pattern))).map((path) => path.slice(dir.path.length + 1))
    assert.deepEqual(await found('*.toml'), ['.h.toml', 'B.toml', 'a10.toml', 'a9.toml'])
    assert.deepEqual(await found('**/*.toml'), ['b/d.toml'])
    assert.deepEqual(await found('*/c/e.toml'), ['b/c/e.toml'])
    assert.deepEqual(await found('a9.toml/*'), [])
    assert.deepEqual(await found('nothing*'), [])
    await assert.rejects(glob(join(dir.path, 'nothing', '[')), { code: 'invalid_argument' })
  })
})
