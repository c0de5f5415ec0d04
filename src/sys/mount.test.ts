import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { root } from '#testing/root.ts'

import { isErrno } from './errno.ts'
import { MountFlag, parseMountOptions } from './mount-flags.ts'
import { mountInfo, parseMountInfo } from './mount-info.ts'
import { mountCompact } from './mount-one.ts'
import { mount, mountAll, unmount, unmountAll, unmountRecursive } from './mount.ts'

/** A tmpfs of our own, gone with all that is mounted in it when the test ends. */
function scratch(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), 'wharf-mount-'))
  mountAll([{ type: 'tmpfs', source: 'tmpfs', options: ['size=16m'] }], path)
  return {
    path,
    [Symbol.dispose]() {
      unmountRecursive(path)
      rmdirSync(path)
    },
  }
}

function makeDirs(base: string, ...names: readonly string[]): readonly string[] {
  return names.map((name) => {
    const path = join(base, name)
    mkdirSync(path, { recursive: true })
    return path
  })
}

const optionsAt = (path: string): readonly string[] =>
  mountInfo().findLast(({ mountPoint }) => mountPoint === path)?.options ?? []

test('options become flags, and what is no flag becomes data in order', () => {
  const parsed = parseMountOptions(['rbind', 'ro', 'nosuid', 'size=1m', 'rw', 'mode=755'])
  assert.equal(parsed.flags, MountFlag.bind | MountFlag.recursive | MountFlag.noSuid)
  assert.deepEqual(parsed.data, ['size=1m', 'mode=755'])
})

test('an option meant for the mount manager is refused', () => {
  assert.throws(() => parseMountOptions(['X-containerd.mkdir.path=/x']), /was not consumed/)
})

test('a bind mount with ro cannot be written', (t) => {
  if (!root(t)) return
  using dir = scratch()
  const [source = '', target = ''] = makeDirs(dir.path, 'source', 'target')
  mountAll([{ type: 'bind', source, options: ['rbind', 'ro'] }], target)
  assert.throws(() => writeFileSync(join(target, 'x'), ''), { code: 'EROFS' })
  writeFileSync(join(source, 'x'), '')
  assert.deepEqual(readdirSync(target), ['x'])
})

test('a bind mount with ro is made in a user namespace too, where attributes are locked', (t) => {
  if (!root(t)) return
  using dir = scratch()
  const [source = '', target = ''] = makeDirs(dir.path, 'source', 'target')
  mount({ target: dir.path, flags: MountFlag.remount | MountFlag.bind | MountFlag.noSuid })
  const module = new URL('mount.ts', import.meta.url).href
  const program = `
    const { mountAll } = await import(${JSON.stringify(module)})
    const fs = await import('node:fs')
    mountAll([{ type: 'bind', source: ${JSON.stringify(source)}, options: ['rbind', 'ro'] }], ${JSON.stringify(target)})
    try { fs.writeFileSync(${JSON.stringify(join(target, 'x'))}, '') } catch (err) { console.log(err.code) }`
  const node = [process.execPath, '--input-type=module', '-e', program]
  const said = execFileSync('unshare', ['--user', '--map-root-user', '--mount', ...node])
  assert.equal(said.toString(), 'EROFS\n')
})

test('an overlay of more lower directories than a page can name shows them all', (t) => {
  if (!root(t)) return
  using dir = scratch()
  const names = Array.from({ length: 120 }, (_, i) => `${'long'.repeat(12)}-${i}/fs`)
  const lowers = makeDirs(dir.path, ...names)
  for (const [i, lower] of lowers.entries()) writeFileSync(join(lower, `file-${i}`), '')
  const [upper, work, target = ''] = makeDirs(dir.path, 'upper', 'work', 'target')
  const options = [
    'index=off',
    `workdir=${work}`,
    `upperdir=${upper}`,
    `lowerdir=${lowers.join(':')}`,
  ]
  assert.ok(options.join().length > 4096)
  mountAll([{ type: 'overlay', source: 'overlay', options }], target)
  assert.equal(readdirSync(target).length, lowers.length)
  writeFileSync(join(target, 'new'), '')
  assert.deepEqual(readdirSync(join(dir.path, 'upper')), ['new'])
})

test('neither many layers nor long names keep an overlay from being mounted', (t) => {
  if (!root(t)) return
  using dir = scratch()
  const long = join('a'.repeat(200), 'b'.repeat(200), 'c'.repeat(200))
  const [home = '', target = ''] = makeDirs(dir.path, long, 'target')
  const lowers = makeDirs(home, ...Array.from({ length: 220 }, (_, i) => `${i}/fs`))
  for (const [i, lower] of lowers.entries()) writeFileSync(join(lower, `file-${i}`), '')
  const [upper, work] = makeDirs(home, 'upper', 'work')
  const data = [`lowerdir=${lowers.join(':')}`, `upperdir=${upper}`, `workdir=${work}`]
  mountAll([{ type: 'overlay', source: 'overlay', options: data }], target)
  assert.equal(readdirSync(target).length, lowers.length)
  writeFileSync(join(target, 'new'), '')
  assert.deepEqual(readdirSync(join(home, 'upper')), ['new'])
})

test('an older kernel mounts as many layers as a page has names of, and no more', (t) => {
  if (!root(t)) return
  using dir = scratch()
  const [home = '', target = ''] = makeDirs(dir.path, 'x'.repeat(250), 'target')
  const lowers = makeDirs(home, ...Array.from({ length: 200 }, (_, i) => `${i}/fs`))
  const spec = (count: number) => ({
    type: 'overlay',
    source: 'overlay',
    target,
    flags: 0,
    data: [`lowerdir=${lowers.slice(0, count).join(':')}`],
  })
  assert.ok(mountCompact(spec(128)))
  assert.equal(mountInfo().findLast(({ mountPoint }) => mountPoint === target)?.type, 'overlay')
  assert.ok(!mountCompact(spec(200)))
  assert.ok(!mountCompact({ ...spec(0), data: ['size=1m'] }))
})

test('a mount with a target goes below the place, and no link leads it out', (t) => {
  if (!root(t)) return
  using dir = scratch()
  const [place = '', outside = ''] = makeDirs(dir.path, 'place', 'outside')
  makeDirs(place, 'outside')
  symlinkSync('/outside', join(place, 'link'))
  mountAll([{ type: 'tmpfs', source: 'inner', target: 'link', options: [] }], place)
  const points = mountInfo().filter(({ source }) => source === 'inner')
  assert.deepEqual(
    points.map(({ mountPoint }) => mountPoint),
    [join(place, 'outside')],
  )
  assert.notEqual(points[0]?.mountPoint, outside)
})

test('propagation is set by a call of its own', (t) => {
  if (!root(t)) return
  using dir = scratch()
  const [source = '', target = ''] = makeDirs(dir.path, 'source', 'target')
  mountAll([{ type: 'bind', source, options: ['bind', 'rshared', 'nodev'] }], target)
  const found = mountInfo().findLast(({ mountPoint }) => mountPoint === target)
  assert.ok(found?.optional.some((field) => field.startsWith('shared:')))
})

test('unmountAll takes a whole stack and is content when nothing is there', (t) => {
  if (!root(t)) return
  using dir = scratch()
  const [target = ''] = makeDirs(dir.path, 'target')
  for (const size of ['1m', '2m', '3m']) mount({ type: 'tmpfs', target, data: `size=${size}` })
  unmountAll(target)
  assert.deepEqual(optionsAt(target), [])
  unmountAll(target)
  unmountAll(join(target, 'missing'))
  assert.throws(
    () => unmount(target),
    (err) => isErrno(err, 'EINVAL'),
  )
})

test('a failed mount is an error in the shape Node gives its own', () => {
  assert.throws(() => mount({ source: '/no/such', target: '/no/such/place', type: 'ext4' }), {
    code: 'ENOENT',
    errno: -2,
    syscall: 'mount',
    path: '/no/such',
    message: "ENOENT: no such file or directory, mount '/no/such' -> '/no/such/place'",
  })
})

test('mountinfo gives names with spaces, and the optional fields', () => {
  const line = String.raw`36 35 98:0 /a\040b /mnt\0112 rw,noatime master:1 shared:2 - ext3 /dev/r rw,x=1`
  const [parsed] = parseMountInfo(`${line}\nnonsense\n`)
  assert.deepEqual(parsed, {
    id: 36,
    parentId: 35,
    device: '98:0',
    root: '/a b',
    mountPoint: '/mnt\t2',
    options: ['rw', 'noatime'],
    optional: ['master:1', 'shared:2'],
    type: 'ext3',
    source: '/dev/r',
    superOptions: ['rw', 'x=1'],
  })
})
