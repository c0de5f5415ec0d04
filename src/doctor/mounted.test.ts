import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'

import { mount, unmount } from '#sys/mount.ts'
import { type MountInfo, parseMountInfo } from '#sys/mount-info.ts'
import { root } from '#testing/root.ts'

import { allMounts, entriesMounted, isMountedBelow } from './mounted.ts'

/** Mounts of an overlay with these options. */
const overlay = (options: string): readonly MountInfo[] =>
  parseMountInfo(`36 35 0:99 / /some/root rw - overlay overlay rw,${options}\n`)

/** A directory with entries `1`, `2` and `3`, each with `fs` in it. */
function snapshots(): Disposable & { readonly path: string } {
  const path = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), 'wharf-mounted-')))
  for (const id of ['1', '2', '3']) fs.mkdirSync(join(path, id, 'fs'), { recursive: true })
  return { path, [Symbol.dispose]: () => fs.rmSync(path, { recursive: true }) }
}

const entries = (path: string, mounts: readonly MountInfo[]): readonly string[] =>
  [...entriesMounted(path, mounts)].toSorted()

test('the layers of an overlay are in use, whichever way the kernel was told of them', () => {
  using dir = snapshots()
  const { path } = dir
  const upper = `upperdir=${path}/3/fs,workdir=${path}/3/work`
  assert.deepEqual(entries(path, overlay(`lowerdir=${path}/2/fs:${path}/1/fs,${upper}`)), [
    '1',
    '2',
    '3',
  ])
  assert.deepEqual(entries(path, overlay(`lowerdir+=${path}/2/fs,${upper}`)), ['2', '3'])
  assert.deepEqual(entries(path, overlay('lowerdir=/elsewhere/1/fs:/elsewhere/2/fs')), [])
})

test('short names of layers are of the directory that the upper layer is in', () => {
  using dir = snapshots()
  const { path } = dir
  const short = 'lowerdir=2/fs:1/fs'
  const own = overlay(`${short},upperdir=${path}/3/fs,workdir=${path}/3/work`)
  assert.deepEqual(entries(path, own), ['1', '2', '3'])
  assert.deepEqual(entries(path, overlay(`${short},upperdir=/elsewhere/3/fs`)), [])
  // Without an upper layer nobody can say: better once too often.
  assert.deepEqual(entries(path, overlay(short)), ['1', '2'])
})

test('what is bound from a snapshot, by any process, is in use', (t: TestContext) => {
  if (!root(t)) return
  using dir = snapshots()
  const target = join(dir.path, '..', `${dir.path.split('/').at(-1)}-target`)
  fs.mkdirSync(target)
  assert.deepEqual(entries(dir.path, allMounts()), [])
  mount({ source: join(dir.path, '2', 'fs'), target, type: 'bind', flags: 0x1000 })
  try {
    assert.deepEqual(entries(dir.path, allMounts()), ['2'])
    assert.equal(isMountedBelow(target, allMounts()), true)
    assert.equal(isMountedBelow(dir.path, allMounts()), false)
  } finally {
    unmount(target)
    fs.rmdirSync(target)
  }
})
