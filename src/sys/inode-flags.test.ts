import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { loopFileSystem } from '#testing/loop-file-system.ts'

import { spreadDirectories } from './inode-flags.ts'

suite('directories that have nothing to do with each other', () => {
  test('ext4 is told of them, once and for all', (t) => {
    const made = loopFileSystem({ type: 'ext4', size: 32 })
    if (typeof made === 'string') return t.skip(made)
    using ext4 = made
    const dir = join(ext4.path, 'snapshots')
    mkdirSync(dir)
    const flags = (): string => execFileSync('lsattr', ['-d', dir], { encoding: 'utf8' })
    assert.doesNotMatch(flags(), /^\S*T\S* /)
    spreadDirectories(dir)
    spreadDirectories(dir)
    assert.match(flags(), /^\S*T\S* /)
  })

  test('where there is no such flag, nothing happens', () => {
    spreadDirectories('/proc')
  })

  test('a directory that is missing is an error', () => {
    assert.throws(() => spreadDirectories('/proc/nothing'), { code: 'ENOENT' })
  })
})
