import assert from 'node:assert/strict'
import { chownSync, lstatSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'

import { lgetxattr, lsetxattr } from '#sys/xattr.ts'
import { apply, inPlace, treeOf } from '#testing/extract-place.ts'
import { dir, file, link, type Part } from '#testing/layer-archive.ts'
import { rejectsWith } from '#testing/rejects.ts'

import type { ExtractTarget } from './extractor.ts'
import { settle } from './settle.ts'

/*
 * Layers that leave out directories, unpacked before those below them are there, and settled when they are.
 */

const open = { signal: new AbortController().signal }

/** What is known of a directory. */
function about(path: string): readonly unknown[] {
  const { mode, uid, gid } = lstatSync(path)
  return [(mode & 0o7777).toString(8), uid, gid, lgetxattr(path, 'user.note')?.toString()]
}

/** Unpacks `parts` on the layers of `root` at once, and alone and then settled. @returns where. */
async function both(
  root: string,
  lowers: readonly string[],
  ...parts: readonly Part[]
): Promise<readonly [string, string]> {
  const [direct, later] = [join(root, 'direct'), join(root, 'later')] as const
  for (const path of [direct, later]) mkdirSync(path)
  const below = lowers.map((name) => join(root, name))
  await apply({ path: direct, overlay: { lowers: below, userxattr: false } }, ...parts)
  const left = new Set<string>()
  await apply(alone(later, left), ...parts)
  await settle(open, { upper: later, left: [...left] }, below)
  assert.deepEqual(treeOf(later), treeOf(direct))
  return [direct, later]
}

const alone = (path: string, left?: Set<string>): ExtractTarget => ({
  path,
  overlay: { lowers: [], userxattr: false, alone: true, left },
})

inPlace('directories get what the layers below know of them', async ({ root }) => {
  mkdirSync(join(root, 'near/a'), { recursive: true, mode: 0o711 })
  mkdirSync(join(root, 'far/a/b'), { recursive: true, mode: 0o750 })
  mkdirSync(join(root, 'far/only'), { mode: 0o1777 })
  chownSync(join(root, 'far/a/b'), 5, 6)
  lsetxattr(join(root, 'far/a/b'), 'user.note', Buffer.from('below'))
  const files = [file('a/b/f'), file('only/f'), file('new/deep/f')]
  const [direct, later] = await both(root, ['near', 'far'], ...files)
  for (const name of ['a', 'a/b', 'only', 'new', 'new/deep']) {
    assert.deepEqual(about(join(later, name)), about(join(direct, name)), name)
  }
  assert.deepEqual(about(join(later, 'a/b')), ['750', 5, 6, 'below'])
  assert.deepEqual(about(join(later, 'new')), ['755', 0, 0, undefined])
})

inPlace('a directory that comes after its files is as the layer says', async ({ root }) => {
  mkdirSync(join(root, 'lower/a'), { recursive: true, mode: 0o711 })
  const [direct, later] = await both(root, ['lower'], file('a/f'), dir('a', { mode: 0o700 }))
  assert.deepEqual(about(join(later, 'a')), ['700', 0, 0, undefined])
  assert.deepEqual(about(join(direct, 'a')), ['700', 0, 0, undefined])
})

inPlace('a link in the place of a directory leads nowhere else', async ({ root, outside }) => {
  mkdirSync(join(root, 'lower/a/b'), { recursive: true, mode: 0o700 })
  symlinkSync(outside, join(root, 'lower/link'))
  const [, later] = await both(
    root,
    ['lower'],
    file('a/b/f'),
    file('link/f'),
    file('.wh.a'),
    link('a', outside),
  )
  assert.deepEqual(Object.keys(treeOf(later)), ['a', 'link/', 'link/f'])
})

inPlace('without anybody to settle it a layer says what it needs', async ({ root }) => {
  await rejectsWith('failed_precondition', apply(alone(root), file('a/f')))
})

inPlace('whoever is not waited for settles nothing more', async ({ root }) => {
  mkdirSync(join(root, 'lower/a'), { recursive: true })
  await apply(alone(root, new Set()), file('a/f'))
  const signal = AbortSignal.abort(new Error('enough'))
  const unsettled = { upper: root, left: ['a'] }
  await assert.rejects(settle({ signal }, unsettled, [join(root, 'lower')]), /enough/)
})
