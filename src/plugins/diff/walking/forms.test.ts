import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'

import { lgetxattr } from '#sys/xattr.ts'
import { apply, inPlace } from '#testing/extract-place.ts'
import { archive, dir, entryBytes, file, hard, link } from '#testing/layer-archive.ts'

import { applyLayer } from './apply-layer.ts'

/*
 * The forms of archives that tools write, unpacked: what the parser reads of them is in
 * lib/tar/parser.test.ts.
 */

async function applyBytes(path: string, bytes: Uint8Array): Promise<void> {
  await applyLayer([bytes], { path }, { compressed: false, check() {} })
}

const tar = (...args: readonly string[]): Buffer =>
  execFileSync('tar', ['-cf', '-', ...args], { maxBuffer: 64 << 20 })

/** A directory beside the root, to make archives of. */
function sourceFor(root: string): string {
  const path = join(root, '../source')
  mkdirSync(path)
  return path
}

/** A sparse file with some text at each of `places`. */
function makeSparse(path: string, size: number, places: readonly number[]): void {
  const fd = openSync(path, 'w')
  for (const place of places) writeSync(fd, `here ${place}`, place)
  ftruncateSync(fd, size)
  closeSync(fd)
}

function textAt(path: string, place: number): string {
  const fd = openSync(path, 'r')
  const buffer = Buffer.alloc(30)
  const length = readSync(fd, buffer, 0, 30, place)
  closeSync(fd)
  return buffer.toString('latin1', 0, length).replace(/\0.*$/s, '')
}

const sparse = {
  'old GNU': ['--format=gnu'],
  'GNU 0.0': ['--format=pax', '--sparse-version=0.0'],
  'GNU 0.1': ['--format=pax', '--sparse-version=0.1'],
  'GNU 1.0': ['--format=pax', '--sparse-version=1.0'],
}

for (const [name, form] of Object.entries(sparse)) {
  inPlace(`a sparse file of 9 GiB is one again: ${name}`, async ({ root }) => {
    const source = sourceFor(root)
    const size = 9 * 2 ** 30 + 12_345
    const places = [0, 1 << 20, 5 * 2 ** 30, size - 30]
    makeSparse(join(source, 'big'), size, places)
    makeSparse(join(source, 'hole'), 70_000, [])
    writeFileSync(join(source, 'z'), 'after')
    await applyBytes(root, tar('--sparse', ...form, '-C', source, 'big', 'hole', 'z'))
    const stat = lstatSync(join(root, 'big'))
    assert.equal(stat.size, size)
    assert.ok(stat.blocks * 512 < 1 << 20, `${stat.blocks} blocks`)
    for (const place of places) {
      assert.equal(textAt(join(root, 'big'), place), `here ${place}`.slice(0, size - place))
    }
    assert.equal(lstatSync(join(root, 'hole')).size, 70_000)
    assert.equal(readFileSync(join(root, 'z'), 'utf8'), 'after')
  })
}

for (const format of ['v7', 'oldgnu', 'gnu', 'ustar', 'pax', 'posix']) {
  inPlace(`what tar writes as ${format} is unpacked as it was`, async ({ root }) => {
    const source = sourceFor(root)
    mkdirSync(join(source, 'd/e'), { recursive: true, mode: 0o750 })
    const long = format === 'v7' || format === 'ustar' ? 'n'.repeat(90) : 'n'.repeat(200)
    for (const name of ['d/f', 'd/e/g', long]) writeFileSync(join(source, name), name)
    execFileSync('ln', [join(source, 'd/f'), join(source, 'd/h')])
    execFileSync('ln', ['-s', long, join(source, 'd/l')])
    execFileSync('chown', ['1234:2000000', join(source, 'd/f')])
    for (const name of ['d/e/g', 'd/e', 'd']) {
      execFileSync('touch', ['-d', '2001-02-03 04:05:06.789012345', join(source, name)])
    }
    await applyBytes(root, tar(`--format=${format}`, '--sort=name', '-C', source, '.'))
    execFileSync('diff', ['-r', '--no-dereference', source, root])
    const [f, h] = [lstatSync(join(root, 'd/f')), lstatSync(join(root, 'd/h'))]
    assert.deepEqual([f.ino, f.uid, f.gid], [h.ino, 1234, 2_000_000])
    const fine = format === 'pax' || format === 'posix'
    for (const name of ['d/e/g', 'd/e', 'd']) {
      const { mtimeNs } = lstatSync(join(root, name), { bigint: true })
      assert.equal(mtimeNs % 1_000_000_000n, fine ? 789_012_345n : 0n, name)
    }
    assert.equal(readlinkSync(join(root, 'd/l')), long)
  })
}

inPlace('global headers say nothing about files', async ({ root }) => {
  const source = sourceFor(root)
  writeFileSync(join(source, 'f'), 'content')
  const args = [
    '--format=pax',
    '--pax-option=globexthdr.name=g,comment=x,mtime=1,uid=77,path=other',
  ]
  await applyBytes(root, tar(...args, '-C', source, 'f'))
  assert.deepEqual(readdirSync(root), ['f'])
  const { uid, mtimeMs } = lstatSync(join(root, 'f'))
  assert.deepEqual([uid, mtimeMs > 1000], [0, true])
})

inPlace('ids of three bytes and more, and times of any year, are kept', async ({ root }) => {
  const times = [0n, 1n, 999_999_999n, 4_102_444_800_123_456_789n, 8_000_000_000_000_000_000n]
  for (const [i, mtime] of times.entries()) {
    await apply(root, file(`f${i}`, '', { uid: 2 ** 21 + i, gid: 2 ** 31 + i, mtime }))
    const { uid, gid, mtimeNs } = lstatSync(join(root, `f${i}`), { bigint: true })
    assert.deepEqual([uid, gid], [BigInt(2 ** 21 + i), BigInt(2 ** 31 + i)])
    // What the file system cannot say, it bounds.
    if (mtime < 4_200_000_000_000_000_000n) assert.equal(mtimeNs, mtime)
  }
})

inPlace('the time of a directory is its own, whatever comes into it later', async ({ root }) => {
  const mtime = 1_000_000_000_000_000_007n
  await apply(
    root,
    dir('d/', { mtime }),
    dir('d/e/', { mtime }),
    file('d/e/f'),
    hard('d/g', 'd/e/f'),
  )
  await apply(
    root,
    dir('d/e', { mtime }),
    link('d/e/l', 'x'),
    file('d/e/.wh.f'),
    dir('d', { mtime }),
  )
  for (const name of ['d', 'd/e']) {
    assert.equal(lstatSync(join(root, name), { bigint: true }).mtimeNs, mtime, name)
  }
})

inPlace('attributes are bytes, also capabilities', async ({ root }) => {
  const xattrs = new Map([
    ['user.star', Buffer.of(0, 1, 255)],
    ['security.capability', Buffer.from('0100000200200000000000000000000000000000', 'hex')],
  ])
  await apply(
    root,
    file('f', 'x', { xattrs, mode: 0o755 }),
    dir('d', { xattrs: new Map([...xattrs].slice(0, 1)) }),
  )
  for (const [key, value] of xattrs) assert.deepEqual(lgetxattr(join(root, 'f'), key), value)
  assert.deepEqual(lgetxattr(join(root, 'd'), 'user.star'), Buffer.of(0, 1, 255))
})

inPlace('devices are what they were, with numbers of any size', async ({ root }) => {
  const numbers = [
    [1, 3],
    [259, 70_000],
    [4095, 1_048_575],
  ] as const
  for (const [major, minor] of numbers) {
    for (const type of ['character', 'block'] as const) {
      await apply(root, { type, name: 'dev', mode: 0o640, major, minor, uid: 5 })
      const stat = lstatSync(join(root, 'dev'))
      const [most, least] = String(
        execFileSync('stat', ['-c', '%Hr %Lr', join(root, 'dev')]),
      ).split(' ')
      assert.deepEqual([Number(most), Number(least), stat.uid], [major, minor, 5])
      assert.equal(type === 'block', stat.isBlockDevice())
    }
  }
})

inPlace(
  'an archive of nothing, and one of nothing but its root, change nothing',
  async ({ root }) => {
    const before = lstatSync(root, { bigint: true })
    await applyBytes(root, new Uint8Array())
    await applyBytes(root, archive())
    await apply(root, dir('./', { mode: 0o700, uid: 9, mtime: 5n }), dir('/'), dir('.'))
    await applyBytes(root, Buffer.concat([entryBytes(dir('./')), Buffer.alloc(10_240)]))
    const { mode, uid, mtimeNs } = lstatSync(root, { bigint: true })
    assert.deepEqual([mode, uid, mtimeNs], [before.mode, before.uid, before.mtimeNs])
  },
)
