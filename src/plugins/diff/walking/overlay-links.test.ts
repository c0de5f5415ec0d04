import assert from 'node:assert/strict'
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'

import type { Mount } from '#core/mount/mount.ts'
import { mountAll, unmountRecursive } from '#sys/mount.ts'
import { lgetxattr } from '#sys/xattr.ts'
import { inPlace, treeOf } from '#testing/extract-place.ts'
import { archive, dir, file, hard, link, type Part } from '#testing/layer-archive.ts'

import { applyLayer } from './apply-layer.ts'
import { openTarget } from './mounted.ts'

/*
 * Layers on an overlay, unpacked into its upper directory: what they say of files of the layers below.
 */

interface Overlay {
  readonly mounts: readonly Mount[]
  readonly upper: string
  readonly tempDir: string
}

/** An overlay on these layers, nearest first. */
function overlayOn(root: string, ...lowers: readonly string[]): Overlay {
  for (const name of ['upper', 'work', 'temp', 'mounted', ...lowers]) {
    mkdirSync(join(root, name), { recursive: true })
  }
  const lowerdir = lowers.map((name) => join(root, name)).join(':')
  const options = [`workdir=${root}/work`, `upperdir=${root}/upper`, `lowerdir=${lowerdir}`]
  return {
    mounts: [{ type: 'overlay', source: 'overlay', options }],
    upper: join(root, 'upper'),
    tempDir: join(root, 'temp'),
  }
}

async function unpack({ mounts, tempDir }: Overlay, ...parts: readonly Part[]): Promise<void> {
  using opened = openTarget(mounts, { tempDir })
  await applyLayer([archive(...parts)], opened.target, { compressed: false, check() {} })
}

/** What is seen through the mount. */
function seen({ mounts, tempDir }: Overlay, look: (path: string) => void): void {
  const path = join(tempDir, '../mounted')
  mountAll(mounts, path)
  try {
    look(path)
  } finally {
    unmountRecursive(path)
  }
}

inPlace('a second name of a file below copies it up, with all it has', async ({ root }) => {
  const overlay = overlayOn(root, 'lower')
  mkdirSync(join(root, 'lower/d'), { mode: 0o710 })
  writeFileSync(join(root, 'lower/d/f'), 'content')
  await unpack(overlay, dir('n/'), { ...hard('n/h', 'd/f'), mode: 0o640, uid: 5 })
  assert.deepEqual(treeOf(overlay.upper), {
    'd/': '',
    'd/f': 'content',
    'n/': '',
    'n/h': 'content',
  })
  seen(overlay, (path) => {
    const [f, h] = [lstatSync(join(path, 'd/f')), lstatSync(join(path, 'n/h'))]
    assert.deepEqual([f.ino, f.nlink, f.mode & 0o777, f.uid], [h.ino, 2, 0o640, 5])
    assert.equal(lstatSync(join(path, 'd')).mode & 0o777, 0o710)
  })
  assert.deepEqual(readdirSync(overlay.tempDir), [])
})

inPlace('a second name takes the place of a file below', async ({ root }) => {
  const overlay = overlayOn(root, 'lower')
  for (const name of ['f', 'h']) writeFileSync(join(root, 'lower', name), name)
  mkdirSync(join(root, 'lower/was-dir'))
  await unpack(overlay, hard('h', 'f'), hard('was-dir', 'h'))
  seen(overlay, (path) => {
    assert.deepEqual(treeOf(path), { f: 'f', h: 'f', 'was-dir': 'f' })
  })
})

inPlace('a second name of what is deleted cannot be', async ({ root }) => {
  const near = overlayOn(root, 'far')
  for (const name of ['f', 'o', 'gone']) mkdirSync(join(root, 'far', name))
  for (const name of ['f/x', 'o/x', 'gone/x']) writeFileSync(join(root, 'far', name), name)
  await unpack(near, file('.wh.gone'), dir('o/'), file('o/.wh..wh..opq'))
  const top = overlayOn(join(root, 'top'), '../upper', '../far')
  for (const target of ['gone/x', 'o/x', 'never/x', 'never']) {
    await assert.rejects(unpack(top, hard('h', target)), { code: 'ENOENT' }, target)
  }
  for (const marker of ['f/.wh.x', 'f/.wh..wh..opq']) {
    const layer = [dir('f/'), file(marker), hard('h', 'f/x')]
    await assert.rejects(unpack(top, ...layer), { code: 'ENOENT' }, marker)
  }
})

inPlace('a link of a layer below leads no second name out', async ({ root, outside }) => {
  const overlay = overlayOn(root, 'lower')
  symlinkSync(outside, join(root, 'lower/out'))
  symlinkSync('../../outside', join(root, 'lower/up'))
  for (const target of ['out/secret', 'up/secret', '../outside/secret', '/../outside/secret']) {
    await assert.rejects(unpack(overlay, hard('h', target)), { code: 'ENOENT' }, target)
  }
  await unpack(overlay, hard('h', 'out'), file('out/inside', 'x'))
  assert.equal(readFileSync(join(overlay.upper, outside, 'inside'), 'utf8'), 'x')
})

inPlace('what means something to the kernel is not taken from an archive', async ({ root }) => {
  const overlay = overlayOn(root, 'lower')
  const [mount] = overlay.mounts
  const mounts = mount ? [{ ...mount, options: [...mount.options, 'userxattr'] }] : []
  const xattrs = new Map([
    ['user.overlay.redirect', Buffer.from('/etc')],
    ['trusted.overlay.redirect', Buffer.from('/etc')],
    ['user.other', Buffer.from('x')],
  ])
  await unpack({ ...overlay, mounts }, dir('d', { xattrs }))
  for (const [key] of xattrs) {
    const value = lgetxattr(join(overlay.upper, 'd'), key)
    assert.equal(value !== undefined, key === 'user.other', key)
  }
})

inPlace('an opaque root deletes each name of the roots below', async ({ root }) => {
  const overlay = overlayOn(root, 'near', 'far')
  for (const name of ['near/a', 'far/b', 'far/d', 'near/f']) mkdirSync(join(root, name))
  writeFileSync(join(root, 'far/d/old'), '')
  await unpack(overlay, file('.wh..wh..opq'), file('d/new', 'new'), link('f', 'x'))
  seen(overlay, (path) => {
    assert.deepEqual(treeOf(path), { 'd/': '', 'd/new': 'new', f: '-> x' })
  })
})
