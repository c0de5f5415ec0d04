import assert from 'node:assert/strict'
import { existsSync, lstatSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'

import { encodeHeader, endOfArchive } from '#lib/tar/writer.ts'
import { umask } from '#sys/file.ts'
import { lgetxattr, lsetxattr } from '#sys/xattr.ts'
import { apply, inPlace, treeOf } from '#testing/extract-place.ts'
import { dir, file, hard, link } from '#testing/layer-archive.ts'

import { applyLayer } from './apply-layer.ts'

inPlace('files have their owner, mode, times and attributes', async ({ root: path }) => {
  const mtime = 1_600_000_000_123_456_789n
  const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex')
  await apply(
    path,
    dir('d/', { mode: 0o1777, mtime, uid: 3, gid: 4 }),
    file('d/f', 'content', {
      mode: 0o6755,
      uid: 1,
      gid: 2,
      mtime,
      xattrs: new Map([['security.capability', capability]]),
    }),
    file('d/late', 'changes the directory'),
    { type: 'fifo', name: 'd/fifo', mode: 0o622 },
    { type: 'character', name: 'd/null', mode: 0o666, major: 1, minor: 3 },
  )
  const f = lstatSync(join(path, 'd/f'), { bigint: true })
  assert.deepEqual([f.mode & 0o7777n, f.uid, f.gid, f.mtimeNs], [0o6755n, 1n, 2n, mtime])
  assert.deepEqual(lgetxattr(join(path, 'd/f'), 'security.capability'), capability)
  const d = lstatSync(join(path, 'd'), { bigint: true })
  assert.deepEqual([d.mode & 0o7777n, d.uid, d.gid, d.mtimeNs], [0o1777n, 3n, 4n, mtime])
  assert.ok(lstatSync(join(path, 'd/fifo')).isFIFO())
  assert.equal(lstatSync(join(path, 'd/fifo')).mode & 0o7777, 0o622)
  assert.equal(lstatSync(join(path, 'd/null')).rdev, 0x103)
})

inPlace(
  'links are made, and what comes later takes the place of what was',
  async ({ root: path }) => {
    await apply(
      path,
      file('a', 'first'),
      hard('same', 'a'),
      link('dir', 'real'),
      file('was-dir/x', 'x'),
      link('was-link', 'a'),
    )
    await apply(
      path,
      file('a', 'second'),
      file('was-dir', 'file'),
      file('was-link', 'file'),
      hard('link-of-link', '/dir'),
    )
    assert.deepEqual(treeOf(path), {
      a: 'second',
      dir: '-> real',
      'link-of-link': '-> real',
      same: 'first',
      'was-dir': 'file',
      'was-link': 'file',
    })
  },
)

inPlace('a directory that is there already keeps what is in it', async ({ root: path }) => {
  await apply(path, file('d/old', 'old'))
  await apply(path, dir('d/', { mode: 0o700 }), file('./d/new', 'new'))
  assert.deepEqual(treeOf(path), { 'd/': '', 'd/new': 'new', 'd/old': 'old' })
  assert.equal(lstatSync(join(path, 'd')).mode & 0o777, 0o700)
})

inPlace(
  'whiteouts remove what lower layers had, but not what this one has',
  async ({ root: path }) => {
    await apply(path, file('gone/x'), file('opaque/old'), file('opaque/sub/old'), file('kept'))
    await apply(
      path,
      file('opaque/new', 'new'),
      file('opaque/sub/new', 'new'),
      file('.wh.gone'),
      file('.wh.never-there'),
      file('opaque/.wh..wh..opq'),
    )
    assert.deepEqual(treeOf(path), {
      kept: '',
      'opaque/': '',
      'opaque/new': 'new',
      'opaque/sub/': '',
      'opaque/sub/new': 'new',
    })
  },
)

inPlace(
  'in the upper directory of an overlay whiteouts are what the kernel expects',
  async ({ root: path }) => {
    const lower = join(path, 'lower')
    const upper = join(path, 'upper')
    for (const each of [lower, upper]) mkdirSync(each)
    mkdirSync(join(lower, 'kept'), { mode: 0o750 })
    lsetxattr(join(lower, 'kept'), 'trusted.secret', Buffer.from('x'))
    lsetxattr(join(lower, 'kept'), 'user.copied', Buffer.from('x'))
    await apply(
      { path: upper, overlay: { lowers: [lower], userxattr: false } },
      file('kept/new', 'new'),
      file('d/.wh.gone', '', { uid: 7, gid: 8 }),
      file('o/.wh..wh..opq'),
      file('replaced'),
      file('.wh.replaced'),
      file('.wh.again'),
      dir('again'),
    )
    assert.deepEqual(treeOf(upper), {
      'again/': '',
      'd/': '',
      'd/gone': 'device 0',
      'kept/': '',
      'kept/new': 'new',
      'o/': '',
      replaced: 'device 0',
    })
    assert.equal(lstatSync(join(upper, 'kept')).mode & 0o777, 0o750)
    assert.equal(lgetxattr(join(upper, 'kept'), 'trusted.secret'), undefined)
    assert.ok(lgetxattr(join(upper, 'kept'), 'user.copied'))
    assert.equal(lstatSync(join(upper, 'd/gone')).uid, 7)
    const opaque = Buffer.from('y')
    assert.deepEqual(lgetxattr(join(upper, 'o'), 'trusted.overlay.opaque'), opaque)
    assert.deepEqual(lgetxattr(join(upper, 'again'), 'trusted.overlay.opaque'), opaque)
  },
)

inPlace('names that are absolute or go up stay inside', async ({ root: path }) => {
  await apply(
    path,
    file('/abs', 'a'),
    file('../../up', 'b'),
    file('x/../../../y', 'c'),
    dir('..'),
    dir('/'),
  )
  assert.deepEqual(treeOf(path), { abs: 'a', up: 'b', y: 'c' })
})

inPlace('no link leads a file out', async ({ root: path, outside }) => {
  await apply(
    path,
    link('abs', outside),
    file('abs/file', 'inside'),
    link('rel', '../outside'),
    file('rel/file', 'inside'),
    link('chain', 'rel/../../outside'),
    file('chain/deep/file', 'inside'),
  )
  assert.equal(readFileSync(join(path, outside, 'file'), 'utf8'), 'inside')
  assert.equal(readFileSync(join(path, 'outside/file'), 'utf8'), 'inside')
})

inPlace(
  'a link with the name of a file is replaced, not written through',
  async ({ root: path, outside }) => {
    await apply(path, link('f', join(outside, 'secret')), file('f', 'mine'))
    await apply(path, link('d', outside), dir('d', { mode: 0o777 }), file('d/new', 'x'))
    assert.deepEqual(treeOf(path), { 'd/': '', 'd/new': 'x', f: 'mine' })
  },
)

inPlace(
  'a directory swapped for a link between two files does not take the second along',
  async ({ root: path, outside }) => {
    await apply(path, file('d/one', '1'), link('d', outside), file('d/secret', '2'))
    assert.equal(readFileSync(join(path, outside, 'secret'), 'utf8'), '2')
  },
)

inPlace(
  'whiteouts and directory times do not follow links out',
  async ({ root: path, outside }) => {
    await apply(path, link('out', outside), file('out/.wh.secret'), file('out/.wh..wh..opq'))
    await apply(path, dir('t', { mtime: 1_000_000_000n }), link('t', outside))
    await apply(path, dir('p/t', { mtime: 1_000_000_000n }), link('p', outside))
    symlinkSync(outside, join(path, 'before'))
    await apply(path, file('.wh.before'))
    assert.equal(existsSync(join(path, 'before')), false)
  },
)

inPlace('a hard link to something outside cannot be', async ({ root: path, outside }) => {
  const secret = join(outside, 'secret')
  for (const target of [secret, '../outside/secret', '../../../../../etc/passwd']) {
    await assert.rejects(apply(path, hard('h', target)), { code: 'ENOENT' })
  }
  await assert.rejects(apply(path, link('d', outside), hard('h', 'd/secret')), { code: 'ENOENT' })
  await assert.rejects(apply(path, hard('h', '/')), { code: 'EPERM' })
})

inPlace(
  'a hard link to a link to the outside changes only the link',
  async ({ root: path, outside }) => {
    await apply(path, link('l', join(outside, 'secret')), {
      ...hard('h', 'l'),
      mode: 0o777,
      uid: 9,
    })
    assert.equal(lstatSync(join(path, 'h')).uid, 9)
  },
)

inPlace('whiteouts of the directory itself or its parent are refused', async ({ root: path }) => {
  for (const name of ['d/.wh.', 'd/.wh..', 'd/.wh...']) {
    await assert.rejects(apply(path, file(name)), /invalid whiteout name/)
  }
})

inPlace('device numbers out of range are refused', async ({ root: path }) => {
  const block = Buffer.from(encodeHeader({ type: 'character', name: 'c', mode: 0o600 }))
  block.set([0x80, 0, 0, 1, 0, 0, 0, 0], 329)
  block.fill(0x20, 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.set(Buffer.from(`${sum.toString(8).padStart(6, '0')}\0`), 148)
  const applied = applyLayer([block, endOfArchive], { path }, { compressed: false, check() {} })
  await assert.rejects(applied, /out of range/)
})

inPlace('links in a circle are an error', async ({ root: path }) => {
  await assert.rejects(apply(path, link('a', 'b'), link('b', 'a'), file('a/x')), { code: 'ELOOP' })
})

inPlace('a file is no parent', async ({ root: path }) => {
  await assert.rejects(apply(path, file('f'), file('f/x')), { code: 'ENOTDIR' })
})

inPlace('times that the kernel cannot say are 1970', async ({ root: path }) => {
  await apply(path, file('f', '', { mtime: -5_000_000_000n }))
  assert.equal(lstatSync(join(path, 'f')).mtimeMs, 0)
})

inPlace('attributes for administrators are not taken from an archive', async ({ root: path }) => {
  const xattrs = new Map([
    ['trusted.overlay.opaque', Buffer.from('y')],
    ['user.plain', Buffer.from('1')],
  ])
  await apply(path, dir('d', { xattrs }), { ...link('l', 'x'), xattrs })
  assert.equal(lgetxattr(join(path, 'd'), 'trusted.overlay.opaque'), undefined)
  assert.deepEqual(lgetxattr(join(path, 'd'), 'user.plain'), Buffer.from('1'))
})

inPlace('the mask of the process does not show', async ({ root: path }) => {
  const before = umask(0o77)
  try {
    await apply(path, file('implied/f', '', { mode: 0o666 }), dir('d', { mode: 0o777 }))
  } finally {
    umask(before)
  }
  const modes = ['implied', 'implied/f', 'd'].map(
    (name) => lstatSync(join(path, name)).mode & 0o777,
  )
  assert.deepEqual(modes, [0o755, 0o666, 0o777])
})
