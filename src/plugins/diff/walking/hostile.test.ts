import assert from 'node:assert/strict'
import { lstatSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import { encodeHeader, endOfArchive } from '#lib/tar/writer.ts'
import { lgetxattr, llistxattr } from '#sys/xattr.ts'
import { apply, inPlace, treeOf } from '#testing/extract-place.ts'
import { archive, dir, entryBytes, file, hard, link, type Part } from '#testing/layer-archive.ts'

import { applyLayer } from './apply-layer.ts'

/*
 * Layers made to get out, to confuse, or to be too much. Each is either refused or unpacked below its
 * root; `inPlace` looks at what is outside. See also extractor.test.ts (links), overlay-links.test.ts
 * (layers below), bombs.test.ts (too much) and swaps.test.ts (races).
 */

const device = (name: string): Part => ({
  type: 'character',
  name,
  mode: 0o666,
  major: 1,
  minor: 3,
})

/** `block` with a right checksum again. */
function reseal(block: Buffer): Buffer {
  block.fill(0x20, 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0`, 148, 'latin1')
  return block
}

async function applyBytes(path: string, bytes: Uint8Array): Promise<void> {
  await applyLayer([bytes], { path }, { compressed: false, check() {} })
}

/** An extended header with these records, before a file. */
function withRecords(records: readonly string[], after: Buffer): Buffer {
  const lines = records.map((record) => {
    const rest = Buffer.byteLength(record) + 2
    const digits = String(rest + String(rest).length).length
    return `${rest + digits} ${record}\n`
  })
  const content = Buffer.from(lines.join(''))
  const header = entryBytes({ ...file('pax'), content })
  header[156] = 'x'.charCodeAt(0)
  reseal(header.subarray(0, 512))
  return Buffer.concat([header, after, endOfArchive])
}

inPlace('one name again and again is what it was last', async ({ root }) => {
  const forms: readonly Part[] = [
    file('x', 'file'),
    dir('x'),
    link('x', '/'),
    device('x'),
    { type: 'fifo', name: 'x', mode: 0o600 },
    hard('x', 'other'),
  ]
  for (const before of forms) {
    for (const last of forms) {
      await apply(root, file('other', 'other'), before, last, file('y'))
      const stat = lstatSync(join(root, 'x'))
      const kinds = {
        file: stat.isFile() && stat.nlink === 1,
        directory: stat.isDirectory(),
        symlink: stat.isSymbolicLink(),
        character: stat.isCharacterDevice(),
        block: stat.isBlockDevice(),
        fifo: stat.isFIFO(),
        hardlink: stat.isFile() && stat.nlink === 2,
      }
      assert.ok(kinds[last.type], `${last.type} after ${before.type}`)
    }
  }
})

inPlace('a file that is a directory to others is in the way of them', async ({ root }) => {
  await assert.rejects(apply(root, file('a'), file('a/b/c')), { code: 'ENOTDIR' })
  await assert.rejects(apply(root, device('n'), file('n/c')), { code: 'ENOTDIR' })
  await assert.rejects(apply(root, { type: 'fifo', name: 'p', mode: 0 }, file('p/c')), {
    code: 'ENOTDIR',
  })
})

inPlace('names that differ in case are different names', async ({ root }) => {
  await apply(root, file('gone', 'kept'), file('.WH.gone'), file('.wH.gone'), file('GONE'))
  assert.deepEqual(Object.keys(treeOf(root)).toSorted(), ['.WH.gone', '.wH.gone', 'GONE', 'gone'])
})

inPlace('names are bytes: of no encoding, with newlines, dots and blanks', async ({ root }) => {
  const names = [
    'bad\udcff',
    'new\nline',
    '...',
    '..x',
    ' ',
    'tab\t',
    '-rf',
    '*',
    'a\u202eb',
    '\u0001',
  ]
  await apply(root, ...names.map((name) => file(name)), file('./././z//'), file('e\u0301'))
  const found = readdirSync(root, { encoding: 'buffer' }).map((name) => name.toString('latin1'))
  assert.equal(found.length, names.length + 2)
  assert.ok(found.includes('bad\xff'))
  assert.ok(lstatSync(join(root, 'z')).isDirectory())
})

inPlace('a NUL ends a name in a header, and is refused in a record', async ({ root }) => {
  const block = Buffer.from(encodeHeader(file('cut')))
  block.write('cut\0/../../outside/secret', 0, 'latin1')
  await applyBytes(root, Buffer.concat([reseal(block), endOfArchive]))
  assert.deepEqual(treeOf(root), { cut: '' })
  for (const key of ['path', 'linkpath', 'uname']) {
    const bytes = withRecords([`${key}=a\0b`], entryBytes(file('f')))
    await assert.rejects(applyBytes(root, bytes), /invalid tar header/)
  }
})

inPlace('a name longer than the kernel takes is refused', async ({ root }) => {
  const tooLong = { code: 'ENAMETOOLONG' }
  await assert.rejects(apply(root, file('n'.repeat(256))), tooLong)
  await assert.rejects(apply(root, file('d/'.repeat(3000))), tooLong)
  await assert.rejects(apply(root, file(`${'d/'.repeat(200_000)}f`)), tooLong)
  await assert.rejects(apply(root, dir('d/'.repeat(2100))), tooLong)
  await assert.rejects(apply(root, link('l', 't'.repeat(5000))), tooLong)
})

inPlace('a tree as deep as paths can be is made, replaced and deleted', async ({ root }) => {
  const deep = Array.from({ length: 1200 }, () => 'd').join('/')
  await apply(root, file(`${deep}/f`, 'x'), dir(deep))
  assert.equal(readFileSync(join(root, deep, 'f'), 'utf8'), 'x')
  await apply(root, file('d', 'a file now'))
  assert.deepEqual(treeOf(root), { d: 'a file now' })
})

inPlace('links make no tree deeper than a path can say', async ({ root }) => {
  const part = Array.from({ length: 1100 }, () => 'd').join('/')
  const parts = [dir(part)]
  for (let i = 0; i < 4; i++) {
    const from = i === 0 ? '' : `l${i - 1}/`
    parts.push(link(`l${i}`, `${from}${part}`), dir(`l${i}/${part}`))
  }
  await assert.rejects(apply(root, ...parts), { code: /^(ENAMETOOLONG|ELOOP)$/ })
})

inPlace('whiteouts of strange names delete what they name, and nothing above', async ({ root }) => {
  mkdirSync(join(root, 'd'))
  for (const name of ['.wh.', '.wh..', '.wh...']) {
    for (const path of [name, `d/${name}`, `d/../${name}`]) {
      await assert.rejects(apply(root, file(path)), /invalid whiteout name/, path)
    }
  }
  await apply(root, file('.wh.x'), file('.wh..wh.x'), file('.wh..wh..wh.x'), file('.wh..wh.plnk'))
  await apply(root, file('.wh.\\..\\d'), file('.wh.*'), file('.wh.-r'), file('.wh.....'))
  assert.deepEqual(treeOf(root), { 'd/': '' })
  // Only the last part of a name can be one.
  await apply(root, file('.wh.d/x'))
  assert.deepEqual(treeOf(root), { '.wh.d/': '', '.wh.d/x': '', 'd/': '' })
})

inPlace('a whiteout of any type is one, and a directory by that name too', async ({ root }) => {
  for (const type of ['file', 'directory', 'symlink', 'fifo', 'character'] as const) {
    await apply(root, file('gone'), file('kept'))
    await apply(root, { type, name: '.wh.gone', mode: 0o644, linkName: 'kept', major: 1, minor: 3 })
    assert.deepEqual(treeOf(root), { kept: '' }, type)
  }
})

inPlace('a second name of a device, a pipe or a link is that', async ({ root, outside }) => {
  await apply(
    root,
    device('null'),
    { type: 'fifo', name: 'pipe', mode: 0o600 },
    link('link', join(outside, 'secret')),
    hard('null2', 'null'),
    hard('pipe2', 'pipe'),
    { ...hard('link2', 'link'), mode: 0o4777, uid: 1, mtime: 1n, xattrs: new Map() },
  )
  assert.equal(lstatSync(join(root, 'null2')).rdev, 0x103)
  assert.ok(lstatSync(join(root, 'pipe2')).isFIFO())
  assert.ok(lstatSync(join(root, 'link2')).isSymbolicLink())
  await assert.rejects(apply(root, dir('d'), hard('d2', 'd')), { code: 'EPERM' })
  await assert.rejects(apply(root, hard('self', 'self')), { code: 'ENOENT' })
})

inPlace('owners that no id can say are refused, never cut', async ({ root }) => {
  for (const id of [2 ** 32, 2 ** 32 + 1, 2 ** 40, -(2 ** 31) - 1]) {
    for (const key of ['uid', 'gid'] as const) {
      for (const part of [file('f'), dir('d'), link('l', 'x'), file('.wh.w')]) {
        await assert.rejects(apply(root, { ...part, [key]: id }), /out of range/, `${key} ${id}`)
      }
    }
  }
  await apply(root, file('f', '', { uid: 2 ** 31, gid: -2 }), file('g', '', { uid: 3_000_000 }))
  const { uid, gid } = lstatSync(join(root, 'f'))
  assert.deepEqual([uid, gid, lstatSync(join(root, 'g')).uid], [2 ** 31, 2 ** 32 - 2, 3_000_000])
})

inPlace('attributes larger than the file system takes are an error', async ({ root }) => {
  const big = new Map([['user.big', Buffer.alloc(70_000)]])
  await assert.rejects(apply(root, file('f', '', { xattrs: big })), /E2BIG|ENOSPC|ERANGE/)
  const many = Array.from({ length: 9000 }, (_, i): [string, Buffer] => [
    `user.${i}`,
    Buffer.alloc(9),
  ])
  await assert.rejects(apply(root, file('f', '', { xattrs: new Map(many) })), /E2BIG|ENOSPC/)
  const long = new Map([[`user.${'n'.repeat(300)}`, Buffer.of(1)]])
  await assert.rejects(apply(root, file('f', '', { xattrs: long })), /ERANGE/)
})

inPlace(
  'attributes of no known kind are left out, and reach no link’s target',
  async ({ root }) => {
    const xattrs = new Map([
      ['no-such.kind', Buffer.of(1)],
      ['user.x', Buffer.of(1)],
    ])
    await apply(root, file('f', '', { xattrs }), link('l', 'target'), file('target'))
    await apply(root, { ...link('l', 'target'), xattrs })
    assert.deepEqual(lgetxattr(join(root, 'f'), 'user.x'), Buffer.of(1))
    assert.deepEqual(llistxattr(join(root, 'target')), [])
  },
)

inPlace('numbers that are none, or too large, or below zero, are refused', async ({ root }) => {
  const fields = { mode: 100, uid: 108, size: 124, mtime: 136 }
  for (const [name, at] of Object.entries(fields)) {
    const block = Buffer.from(encodeHeader(file('f')))
    block.write('12x4567', at, 'latin1')
    await assert.rejects(applyBytes(root, reseal(block)), /invalid tar header/, name)
    block[at] = 0x80
    block.fill(0xff, at + 1, at + (at < 124 ? 8 : 12))
    await assert.rejects(applyBytes(root, reseal(block)), /invalid tar header|out of range/, name)
  }
  const negative = Buffer.from(encodeHeader(file('f')))
  negative.fill(0xff, 124, 136)
  await assert.rejects(applyBytes(root, reseal(negative)), /invalid tar header/)
  for (const size of ['-1', '1e3', '0x10', '9007199254740993', '1.5', ' 5']) {
    const bytes = withRecords([`size=${size}`], entryBytes(file('f')))
    await assert.rejects(applyBytes(root, bytes), /invalid tar header/, size)
  }
})

inPlace('maps of sparse files that overlap, overflow or lie are refused', async ({ root }) => {
  const maps = [
    '0,512,256,512',
    '512,512,0,512',
    '0,2048',
    '9007199254740990,512',
    '0,512,0',
    '-1,5',
  ]
  for (const map of maps) {
    const records = [`GNU.sparse.map=${map}`, 'GNU.sparse.size=1536', 'GNU.sparse.name=f']
    const after = entryBytes({ ...file('f'), content: Buffer.alloc(1024) })
    await assert.rejects(applyBytes(root, withRecords(records, after)), /invalid tar header/, map)
  }
  const huge = ['GNU.sparse.map=0,512', 'GNU.sparse.size=9007199254740991', 'GNU.sparse.name=f']
  const after = entryBytes({ ...file('f'), content: Buffer.alloc(512) })
  await assert.rejects(applyBytes(root, withRecords(huge, after)), /EFBIG/)
})

inPlace('a layer cut anywhere is an error, or is whole up to there', async ({ root }) => {
  const xattrs = new Map([['user.x', Buffer.alloc(600)]])
  const bytes = archive(
    dir('d/'),
    file('d/f', 'x'.repeat(700), { xattrs }),
    link('n'.repeat(120), 't'.repeat(130)),
    hard('d/h', 'd/f'),
  )
  const whole = bytes.length - endOfArchive.length
  for (let length = 1; length < whole; length += 37) {
    const atEntry = length % 512 === 0
    try {
      await applyBytes(root, bytes.subarray(0, length))
      assert.ok(atEntry, `${length} bytes`)
    } catch (err) {
      assert.match(String(err), /TarError: unexpected EOF/, `${length} bytes`)
    }
  }
  await applyBytes(root, bytes.subarray(0, whole))
})

inPlace('a bit that is wrong in a header is found by its sum', async ({ root }) => {
  const bytes = archive(file('f', 'content'))
  for (let at = 0; at < 512; at += 3) {
    const damaged = Buffer.from(bytes)
    damaged[at] = (damaged[at] ?? 0) ^ 0x04
    await assert.rejects(applyBytes(root, damaged), /invalid tar header/, `byte ${at}`)
  }
  assert.deepEqual(treeOf(root), {})
})
