import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { SnapshotDirs } from '#core/snapshots/storage/snapshot-dirs.ts'
import { newContext } from '#testing/context.ts'

import { WorkerRemover } from './remover.ts'

const none = new AbortController().signal

/** A tree of so many files, one of them in a name that is not UTF-8, and a link that leads out. */
function plant(tree: string, files: number, kept: string): void {
  fs.mkdirSync(join(tree, 'a/b'), { recursive: true })
  for (let n = 0; n < files; n++) fs.writeFileSync(join(tree, 'a/b', String(n)), '')
  fs.mkdirSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.of(0xff)]))
  fs.symlinkSync(kept, join(tree, 'link'))
}

async function scratch() {
  const dir = await mkdtempDisposable(join(tmpdir(), 'remover-'))
  const kept = join(dir.path, 'kept')
  fs.mkdirSync(kept)
  fs.writeFileSync(join(kept, 'file'), '')
  return { path: dir.path, kept, [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose]() }
}

suite('the threads that remove trees', () => {
  test('removes several, and nothing that their links lead to', async () => {
    await using dir = await scratch()
    await using remover = new WorkerRemover()
    const trees = ['one', 'two', 'three'].map((name) => join(dir.path, name))
    for (const tree of trees) plant(tree, 50, dir.kept)
    await Promise.all(trees.map(async (tree) => await remover.remove(tree, none)))
    await remover.remove(join(dir.path, 'none'), none)
    assert.deepEqual(fs.readdirSync(dir.path), ['kept'])
    assert.deepEqual(fs.readdirSync(dir.kept), ['file'])
  })

  test('meet somewhere in a deep tree, and leave nothing of it', async () => {
    await using dir = await scratch()
    await using remover = new WorkerRemover()
    for (let round = 0; round < 5; round++) {
      const tree = join(dir.path, 'deep')
      for (let n = 0; n < 300; n++)
        plant(join(tree, String(n % 7), String(n % 13), String(n)), 3, dir.kept)
      await remover.remove(tree, none)
      assert.deepEqual(fs.readdirSync(dir.path), ['kept'])
    }
    assert.deepEqual(fs.readdirSync(dir.kept), ['file'])
  })

  test('a tree that cannot be removed is an error, and the next one is removed', async () => {
    await using dir = await scratch()
    await using remover = new WorkerRemover()
    await assert.rejects(remover.remove('/proc/self/task', none), /EPERM|EACCES/)
    plant(join(dir.path, 'tree'), 1, dir.kept)
    await remover.remove(join(dir.path, 'tree'), none)
    assert.deepEqual(fs.readdirSync(dir.path), ['kept'])
  })

  test('a removal that is cancelled leaves the rest, and another one takes it', async () => {
    await using dir = await scratch()
    await using remover = new WorkerRemover()
    const tree = join(dir.path, 'tree')
    plant(tree, 2000, dir.kept)
    const stop = new AbortController()
    const removing = remover.remove(tree, stop.signal)
    stop.abort()
    await assert.rejects(removing, { name: 'AbortError' })
    assert.ok(fs.existsSync(tree))
    await remover.remove(tree, none)
    assert.deepEqual(fs.readdirSync(dir.path), ['kept'])
  })

  test('what waits hears of its end', async () => {
    await using dir = await scratch()
    const remover = new WorkerRemover()
    plant(join(dir.path, 'tree'), 2000, dir.kept)
    const removing = remover.remove(join(dir.path, 'tree'), none)
    const [outcome] = await Promise.allSettled([removing, remover[Symbol.asyncDispose]()])
    assert.match(String(outcome.status === 'rejected' && outcome.reason), /has ended/)
  })

  test('is asked for trees that are large', async (t) => {
    await using dir = await scratch()
    const asked: string[] = []
    const root = join(dir.path, 'root')
    const dirs = new SnapshotDirs(root, {
      remove: async (path) => void asked.push(await Promise.resolve(path)),
    })
    plant(dirs.of('small'), 5, dir.kept)
    plant(dirs.of('large'), 2000, dir.kept)
    await dirs.remove(newContext(t), [dirs.of('small'), dirs.of('large')])
    assert.deepEqual(asked, [dirs.of('large')])
    assert.deepEqual(fs.readdirSync(join(root, 'snapshots')), ['large'])
  })
})
