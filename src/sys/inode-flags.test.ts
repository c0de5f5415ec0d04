import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { loopFileSystem } from '#testing/loop-file-system.ts'

import { spreadDirectories } from './inode-flags.ts'

suite('directories that have nothing to do with each other', () => {
  for (const [what, args, flagged] of [
    ['without a journal is told of them', ['-O', '^has_journal'], true],
    ['with one is not', [], false],
  ] as const) {
    test(`an ext4 ${what}`, (t) => {
      const made = loopFileSystem({ type: 'ext4', size: 32, args })
      if (typeof made === 'string') return t.skip(made)
      using ext4 = made
      const dir = join(ext4.path, 'snapshots')
      mkdirSync(dir)
      spreadDirectories(dir)
      spreadDirectories(dir)
      const flags = execFileSync('lsattr', ['-d', dir], { encoding: 'utf8' })
      assert.equal(/^\S*T\S* /.test(flags), flagged, flags)
    })
  }

  test('what is no ext4 is left alone', () => {
    spreadDirectories('/proc')
  })

  test('a directory that is missing is an error', () => {
    assert.throws(() => spreadDirectories('/proc/nothing'), { code: 'ENOENT' })
  })
})
