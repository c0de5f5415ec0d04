import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { diskUsage } from './disk-usage.ts'
import { removeTree } from './remove-tree.ts'

const scratch = async (): Promise<Awaited<ReturnType<typeof mkdtempDisposable>>> =>
  await mkdtempDisposable(join(tmpdir(), 'lib-fs-'))
const latin1 = (dir: string, name: string): Buffer =>
  Buffer.concat([Buffer.from(`${dir}/`), Buffer.from(name, 'latin1')])

suite('trees of files', () => {
  test('a file with two names counts once, and links are not followed', async () => {
    await using dir = await scratch()
    fs.mkdirSync(join(dir.path, 'sub'))
    fs.writeFileSync(join(dir.path, 'sub/a'), Buffer.alloc(10_000, 1))
    fs.linkSync(join(dir.path, 'sub/a'), join(dir.path, 'b'))
    fs.symlinkSync('/usr', join(dir.path, 'c'))
    fs.writeFileSync(latin1(dir.path, 'caf\xe9'), Buffer.alloc(1))
    const blocks = ['', 'sub', 'sub/a', 'c'].map(
      (name) => fs.lstatSync(join(dir.path, name)).blocks,
    )
    const latin = fs.lstatSync(latin1(dir.path, 'caf\xe9')).blocks
    const size = 512 * blocks.reduce((sum, count) => sum + count, latin)
    assert.deepEqual(await diskUsage(dir.path), { inodes: 5, size })
  })

  test('what is not there takes up nothing', async () => {
    await using dir = await scratch()
    assert.deepEqual(await diskUsage(join(dir.path, 'none')), { inodes: 0, size: 0 })
  })

  test('a tree is removed, whatever its names, and what its links point to is not', async () => {
    await using dir = await scratch()
    const kept = join(dir.path, 'kept')
    const tree = join(dir.path, 'tree')
    fs.mkdirSync(kept)
    fs.writeFileSync(join(kept, 'file'), '')
    fs.mkdirSync(join(tree, 'a/b/c/d'), { recursive: true })
    for (let at = 0; at < 100; at++) fs.writeFileSync(join(tree, 'a', String(at)), '')
    fs.writeFileSync(latin1(tree, 'caf\xe9'), '')
    fs.mkdirSync(latin1(tree, '\xff\xfe'))
    fs.symlinkSync(kept, join(tree, 'a/link'))
    await removeTree(tree)
    assert.deepEqual(fs.readdirSync(dir.path), ['kept'])
    assert.deepEqual(fs.readdirSync(kept), ['file'])
  })

  test('a file, a link and nothing can be removed too', async () => {
    await using dir = await scratch()
    fs.writeFileSync(join(dir.path, 'file'), '')
    fs.symlinkSync('file', join(dir.path, 'link'))
    await removeTree(join(dir.path, 'link'))
    assert.deepEqual(fs.readdirSync(dir.path), ['file'])
    await removeTree(join(dir.path, 'file'))
    await removeTree(join(dir.path, 'none'))
    assert.deepEqual(fs.readdirSync(dir.path), [])
  })

  test('a tree of more names than wanted is left, and said to be', async () => {
    await using dir = await scratch()
    const tree = join(dir.path, 'tree')
    fs.mkdirSync(join(tree, 'a'), { recursive: true })
    for (let at = 0; at < 8; at++) fs.writeFileSync(join(tree, 'a', String(at)), '')
    assert.equal(await removeTree(tree, { most: 8 }), false)
    assert.equal(fs.readdirSync(join(tree, 'a')).length, 8)
    assert.equal(await removeTree(tree, { most: 9 }), true)
    assert.deepEqual(fs.readdirSync(dir.path), [])
  })

  test('removing stops when it is told to', async () => {
    await using dir = await scratch()
    fs.mkdirSync(join(dir.path, 'tree/a'), { recursive: true })
    const options = { signal: AbortSignal.abort() }
    await assert.rejects(removeTree(join(dir.path, 'tree'), options), { name: 'AbortError' })
    assert.deepEqual(fs.readdirSync(dir.path), ['tree'])
  })
})
