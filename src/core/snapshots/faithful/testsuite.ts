import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { mkfifo, makeDevice, mknodat, NodeType } from '#sys/node.ts'
import { getxattr, setxattr } from '#sys/xattr.ts'
import { layer, mounted, read, write } from '#testing/layers.ts'

type Check = (
  title: string,
  body: (given: { readonly ctx: Context; readonly sn: Snapshotter }) => Promise<void>,
) => void

const AT_FDCWD = -100

/** That a snapshot shows of what is below it all there is to see, and keeps what is done to it. */
export function checkFaithful(check: Check, supports: { readonly holes: boolean }): void {
  checkKinds(check)
  if (supports.holes) checkHoles(check)
  checkChanges(check)
}

function checkKinds(check: Check): void {
  check('files of all kinds are above what they are below', async ({ ctx, sn }) => {
    const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex')
    await layer(ctx, sn, { name: 'base' }, (dir) => {
      const at = (name: string): string => join(dir, name)
      write(dir, { file: 'x', capable: 'x', setuid: 'x' })
      fs.chownSync(at('setuid'), 7, 8)
      fs.chmodSync(at('setuid'), 0o4755)
      fs.linkSync(at('file'), at('linked'))
      fs.symlinkSync('../nowhere', at('symlink'))
      fs.lchownSync(at('symlink'), 5, 6)
      mkfifo(at('fifo'), 0o640)
      mknodat(AT_FDCWD, at('device'), NodeType.character | 0o600, makeDevice(1, 3))
      setxattr(at('file'), 'user.note', Buffer.from('some'))
      setxattr(at('file'), 'trusted.note', Buffer.from('other'))
      setxattr(at('capable'), 'security.capability', capability)
      fs.mkdirSync(at('sticky'))
      fs.chmodSync(at('sticky'), 0o3777)
      fs.utimesSync(at('file'), 1_000_000_000.25, 1_100_000_000.5)
      fs.utimesSync(at('sticky'), 1_000_000_000, 1_200_000_000)
    })
    await layer(ctx, sn, { name: 'top', on: 'base' }, (dir) => write(dir, { more: '' }))
    await mounted(await sn.prepare(ctx, 'work', 'top'), (dir) => {
      const at = (name: string): string => join(dir, name)
      const stat = (name: string): readonly unknown[] => {
        const { uid, gid, mode } = fs.lstatSync(at(name))
        return [uid, gid, mode.toString(8)]
      }
      assert.deepEqual(stat('setuid'), [7, 8, '104755'])
      assert.equal(fs.statSync(at('file')).ino, fs.statSync(at('linked')).ino)
      assert.equal(fs.statSync(at('file')).nlink, 2)
      assert.equal(fs.readlinkSync(at('symlink')), '../nowhere')
      assert.deepEqual(stat('symlink'), [5, 6, '120777'])
      assert.deepEqual(stat('fifo'), [0, 0, '10640'])
      assert.deepEqual(stat('device'), [0, 0, '20600'])
      assert.equal(fs.statSync(at('device')).rdev, 0x103)
      assert.equal(note(at('file'), 'user.note'), 'some')
      assert.equal(note(at('file'), 'trusted.note'), 'other')
      assert.equal(note(at('capable'), 'security.capability', 'hex'), capability.toString('hex'))
      assert.deepEqual(stat('sticky'), [0, 0, '43777'])
      assert.equal(fs.statSync(at('file')).mtimeMs, 1_100_000_000_500)
      assert.equal(fs.statSync(at('sticky')).mtimeMs, 1_200_000_000_000)
    })
  })
}

function checkHoles(check: Check): void {
  check('a file with holes is above as small as below', async ({ ctx, sn }) => {
    const blocks = (dir: string): number => fs.statSync(join(dir, 'holes')).blocks
    await layer(ctx, sn, { name: 'base' }, (dir) => {
      write(dir, { holes: 'begin' })
      fs.truncateSync(join(dir, 'holes'), 4_000_000)
      fs.appendFileSync(join(dir, 'holes'), 'end')
    })
    await mounted(await sn.prepare(ctx, 'work', 'base'), (dir) => {
      assert.equal(fs.statSync(join(dir, 'holes')).size, 4_000_003)
      assert.ok(blocks(dir) < 200, String(blocks(dir)))
    })
  })
}

const note = (path: string, name: string, encoding: BufferEncoding = 'utf8'): string =>
  Buffer.from(getxattr(path, name) ?? []).toString(encoding)

function checkChanges(check: Check): void {
  const owner = (path: string): readonly number[] => {
    const { uid, gid, mode } = fs.statSync(path)
    return [uid, gid, mode & 0o7777]
  }

  check('owners and modes are changed above, and not below', async ({ ctx, sn }) => {
    await layer(ctx, sn, { name: 'base' }, (dir) => {
      fs.mkdirSync(join(dir, 'etc'), { mode: 0o755 })
      write(join(dir, 'etc'), { passwd: 'x' })
      fs.mkdirSync(join(dir, 'private'), { mode: 0o700 })
    })
    await layer(ctx, sn, { name: 'top', on: 'base' }, (dir) => {
      fs.chownSync(join(dir, 'etc/passwd'), 10, 20)
      fs.chmodSync(join(dir, 'etc'), 0o711)
      fs.chownSync(join(dir, 'private'), 30, 40)
    })
    await mounted(await sn.view(ctx, 'look', 'top'), (dir) => {
      assert.deepEqual(owner(join(dir, 'etc/passwd')), [10, 20, 0o644])
      assert.deepEqual(owner(join(dir, 'etc')), [0, 0, 0o711])
      assert.deepEqual(owner(join(dir, 'private')), [30, 40, 0o700])
      assert.equal(fs.readFileSync(join(dir, 'etc/passwd'), 'utf8'), 'x')
    })
    await mounted(await sn.view(ctx, 'look-base', 'base'), (dir) => {
      assert.deepEqual(owner(join(dir, 'etc/passwd')), [0, 0, 0o644])
      assert.deepEqual(owner(join(dir, 'etc')), [0, 0, 0o755])
    })
  })

  check('what is below can be renamed, replaced and linked', async ({ ctx, sn }) => {
    await layer(ctx, sn, { name: 'base' }, (dir) => {
      for (const name of ['one', 'two']) fs.mkdirSync(join(dir, name))
      write(join(dir, 'one'), { a: '1', b: '1' })
      write(join(dir, 'two'), { c: '1' })
    })
    await layer(ctx, sn, { name: 'top', on: 'base' }, (dir) => {
      fs.renameSync(join(dir, 'one/a'), join(dir, 'two/a'))
      fs.linkSync(join(dir, 'two/c'), join(dir, 'one/c'))
      fs.rmSync(join(dir, 'two/c'))
      fs.rmSync(join(dir, 'one/b'))
      fs.mkdirSync(join(dir, 'one/b'))
      // As mv does where overlayfs renames no directories from below: EXDEV, and a copy.
      fs.cpSync(join(dir, 'two'), join(dir, 'three'), { recursive: true })
      fs.rmSync(join(dir, 'two'), { recursive: true })
    })
    await mounted(await sn.view(ctx, 'look', 'top'), (dir) => {
      assert.deepEqual(Object.keys(read(dir)).toSorted(), ['one', 'three'])
      assert.deepEqual(read(join(dir, 'one')), { b: '', c: '1' })
      assert.deepEqual(read(join(dir, 'three')), { a: '1' })
      assert.ok(fs.statSync(join(dir, 'one/b')).isDirectory())
    })
    await mounted(await sn.view(ctx, 'look-base', 'base'), (dir) =>
      assert.deepEqual(read(join(dir, 'one')), { a: '1', b: '1' }),
    )
  })

  check('what was taken away stays away in all layers above', async ({ ctx, sn }) => {
    await layer(ctx, sn, { name: 'one' }, (dir) => {
      fs.mkdirSync(join(dir, 'sub'))
      write(join(dir, 'sub'), { a: '1' })
      write(dir, { gone: '1', kept: '1' })
    })
    await layer(ctx, sn, { name: 'two', on: 'one' }, (dir) => {
      fs.rmSync(join(dir, 'sub'), { recursive: true })
      fs.rmSync(join(dir, 'gone'))
    })
    await layer(ctx, sn, { name: 'three', on: 'two' })
    await layer(ctx, sn, { name: 'four', on: 'three' }, (dir) => {
      assert.deepEqual(read(dir), { kept: '1' })
      fs.mkdirSync(join(dir, 'gone'))
    })
    await mounted(await sn.view(ctx, 'look', 'four'), (dir) =>
      assert.deepEqual(read(dir), { gone: '', kept: '1' }),
    )
  })

  check('a snapshot that is committed keeps its root as it was left', async ({ ctx, sn }) => {
    await layer(ctx, sn, { name: 'base' }, (dir) => fs.chmodSync(dir, 0o1777))
    await mounted(await sn.view(ctx, 'look', 'base'), (dir) =>
      assert.deepEqual(owner(dir), [0, 0, 0o1777]),
    )
  })
}
