import assert from 'node:assert/strict'
import {
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  mkdtempDisposableSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { root } from '#testing/root.ts'

import {
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  fchmodat,
  fchownat,
  futimens,
  linkat,
  mkdirat,
  readlinkat,
  Rename,
  renameat2,
  symlinkat,
  syncfs,
  umask,
  unlinkat,
  utimensat,
  UTIME_OMIT,
} from './file.ts'
import { deviceParts, makeDevice, mkfifo, mknodat, NodeType } from './node.ts'
import { openat2, Resolve } from './openat2.ts'
import { openRoot, resolveInRoot } from './resolve.ts'
import { fstatat } from './stat.ts'
import { getxattr, lgetxattr, listxattr, llistxattr, lremovexattr, lsetxattr } from './xattr.ts'

/** A directory and an O_PATH descriptor of it. */
function scratch(): Disposable & { readonly path: string; readonly fd: number } {
  using stack = new DisposableStack()
  const { path } = stack.use(mkdtempDisposableSync(join(tmpdir(), 'wharf-file-')))
  const fd = stack.adopt(openRoot(path), closeSync)
  const owned = stack.move()
  return { path, fd, [Symbol.dispose]: () => owned.dispose() }
}

test('files, links and directories are made, renamed and removed below a descriptor', () => {
  using dir = scratch()
  mkdirat(dir.fd, 'd', 0o700)
  assert.equal(lstatSync(join(dir.path, 'd')).mode & 0o777, 0o700)
  symlinkat('some/where', dir.fd, 'd/link')
  assert.equal(readlinkSync(join(dir.path, 'd/link')), 'some/where')
  assert.equal(Buffer.from(readlinkat(dir.fd, 'd/link')).toString(), 'some/where')
  linkat(dir.fd, 'd/link', dir.fd, 'second')
  assert.equal(fstatat(dir.fd, 'second').nlink, 2)
  writeFileSync(join(dir.path, 'other'), '')
  assert.throws(() => renameat2(dir.fd, 'second', dir.fd, 'other', Rename.noReplace), {
    code: 'EEXIST',
  })
  renameat2(dir.fd, 'second', dir.fd, 'other')
  unlinkat(dir.fd, 'd/link')
  unlinkat(dir.fd, 'd', AT_REMOVEDIR)
  assert.deepEqual(readdirSync(dir.path), ['other'])
})

test('names that are not UTF-8 come back as they were', () => {
  using dir = scratch()
  const name = 'caf\udce9'
  mkdirat(dir.fd, name, 0o755)
  const [found] = readdirSync(dir.path, { encoding: 'buffer' })
  assert.deepEqual(found, Buffer.from('caf\xe9', 'latin1'))
  assert.equal(fstatat(dir.fd, name).mode & constants.S_IFMT, constants.S_IFDIR)
})

test('a name with a NUL is refused instead of being cut', () => {
  assert.throws(() => mkdirat(AT_FDCWD, 'a\0b', 0o755), { code: 'EINVAL' })
})

test('times are set to the nanosecond, before the epoch too, or left alone', () => {
  using dir = scratch()
  writeFileSync(join(dir.path, 'f'), '')
  const mtime = 1_700_000_000_123_456_789n
  utimensat(dir.fd, 'f', { atime: -1_500_000_001n, mtime })
  assert.equal(lstatSync(join(dir.path, 'f'), { bigint: true }).mtimeNs, mtime)
  utimensat(dir.fd, 'f', { atime: 7n, mtime: UTIME_OMIT })
  const { atime, mtime: kept } = fstatat(dir.fd, 'f')
  assert.deepEqual([atime, kept], [7n, mtime])
  const fd = openSync(join(dir.path, 'f'), 'r+')
  futimens(fd, { atime: UTIME_OMIT, mtime: 5n })
  closeSync(fd)
  assert.equal(fstatat(dir.fd, 'f').mtime, 5n)
})

test('owners and modes are set, those of a link on the link', (t) => {
  if (!root(t)) return
  using dir = scratch()
  symlinkSync('nowhere', join(dir.path, 'link'))
  fchownat(dir.fd, 'link', 12, 34, AT_SYMLINK_NOFOLLOW)
  writeFileSync(join(dir.path, 'f'), '')
  fchmodat(dir.fd, 'f', 0o4755)
  assert.deepEqual([fstatat(dir.fd, 'link').uid, fstatat(dir.fd, 'link').gid], [12, 34])
  assert.equal(fstatat(dir.fd, 'f').mode & 0o7777, 0o4755)
})

test('device nodes and pipes carry their type and number', (t) => {
  if (!root(t)) return
  using dir = scratch()
  mknodat(dir.fd, 'dev', NodeType.character | 0o600, makeDevice(10, 70_000))
  mkfifo(join(dir.path, 'pipe'), 0o640)
  assert.deepEqual(fstatat(dir.fd, 'dev').rdev, { major: 10, minor: 70_000 })
  assert.deepEqual(deviceParts(lstatSync(join(dir.path, 'dev')).rdev), {
    major: 10,
    minor: 70_000,
  })
  assert.ok(lstatSync(join(dir.path, 'pipe')).isFIFO())
})

test('no path leads out of the directory it is resolved in', () => {
  using dir = scratch()
  mkdirSync(join(dir.path, 'etc'))
  writeFileSync(join(dir.path, 'etc/passwd'), 'inside')
  symlinkSync('/etc', join(dir.path, 'jump'))
  const flags = constants.O_RDONLY
  assert.throws(() => openat2(dir.fd, 'jump/passwd', { flags, resolve: Resolve.beneath }), {
    code: 'EXDEV',
  })
  assert.throws(() => openat2(dir.fd, 'jump/passwd', { flags, resolve: Resolve.noSymlinks }), {
    code: 'ELOOP',
  })
  const fd = openat2(dir.fd, '../../jump/passwd', { flags, resolve: Resolve.inRoot })
  assert.equal(readFileSync(fd, 'utf8'), 'inside')
  closeSync(fd)
  assert.equal(resolveInRoot(dir.path, '/jump/passwd'), join(dir.path, 'etc/passwd'))
})

test('extended attributes are set, read, listed and removed', (t) => {
  if (!root(t)) return
  using dir = scratch()
  const [file, link] = [join(dir.path, 'f'), join(dir.path, 'link')]
  writeFileSync(file, '')
  symlinkSync('f', link)
  lsetxattr(file, 'trusted.a', Buffer.of(0, 1, 2))
  lsetxattr(file, 'trusted.empty', new Uint8Array())
  assert.deepEqual(getxattr(link, 'trusted.a'), Buffer.of(0, 1, 2))
  assert.equal(lgetxattr(link, 'trusted.a'), undefined)
  assert.equal(getxattr(file, 'trusted.empty')?.length, 0)
  assert.deepEqual(listxattr(link).toSorted(), ['trusted.a', 'trusted.empty'])
  assert.deepEqual(llistxattr(link), [])
  lremovexattr(file, 'trusted.a')
  assert.throws(() => lremovexattr(file, 'trusted.a'), { code: 'ENODATA' })
})

test('a file system is synced through any descriptor that is open', () => {
  using dir = scratch()
  const fd = openSync(dir.path, 'r')
  syncfs(fd)
  closeSync(fd)
  assert.throws(() => syncfs(fd), { code: 'EBADF', syscall: 'syncfs' })
})

test('umask gives what was set before', () => {
  const before = umask(0o77)
  assert.equal(umask(before), 0o77)
})
