import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'

import { codeOf } from '#lib/errors/errors.ts'
import { root } from '#testing/root.ts'

import { mountInfo } from './mount-info.ts'
import { mountAll, unmountRecursive } from './mount.ts'
import { openUserNamespace } from './user-namespace.ts'

interface Scratch extends Disposable {
  /** A tmpfs. */
  readonly path: string
  readonly target: string
  /** What is mounted at `target`, one line for each. */
  readonly stack: () => readonly string[]
}

function scratch(): Scratch {
  const path = fs.mkdtempSync(join(tmpdir(), 'wharf-mapped-'))
  mountAll([{ type: 'tmpfs', source: 'tmpfs', options: ['size=16m'] }], path)
  const target = join(path, 'target')
  fs.mkdirSync(target)
  return {
    path,
    target,
    stack: () =>
      mountInfo()
        .filter(({ mountPoint }) => mountPoint === target)
        .map(({ type, options }) => `${type} ${options[0]}`),
    [Symbol.dispose]: () => {
      unmountRecursive(path)
      fs.rmdirSync(path)
    },
  }
}

const check = (title: string, body: (s: Scratch, t: TestContext) => void): void =>
  void test(title, (t) => {
    if (!root(t)) return
    using s = scratch()
    body(s, t)
  })

const owner = (path: string): readonly number[] => {
  const { uid, gid } = fs.lstatSync(path)
  return [uid, gid]
}

/** A file of each owner. */
function files(dir: string, owners: Readonly<Record<string, readonly [number, number]>>): void {
  fs.mkdirSync(dir, { recursive: true })
  for (const [name, [uid, gid]] of Object.entries(owners)) {
    fs.writeFileSync(join(dir, name), name)
    fs.chownSync(join(dir, name), uid, gid)
  }
}

const several = ['uidmap=0:5000:10,10:6000:10', 'gidmap=0:7000:100']

check('a user namespace has the maps it was made with, and lives by its descriptor', ({ path }) => {
  const fd = openUserNamespace('0 1000 1\n', '0 2000 3\n')
  fs.writeFileSync(join(path, 'x'), '')
  assert.match(fs.readlinkSync(`/proc/self/fd/${fd}`), /^user:\[\d+\]$/)
  assert.notEqual(fs.readlinkSync(`/proc/self/fd/${fd}`), fs.readlinkSync('/proc/self/ns/user'))
  fs.closeSync(fd)
  assert.throws(() => openUserNamespace('0 0 0\n', '0 0 1\n'), { code: 'EINVAL' })
})

check('a bind mount shows other owners, and stores those on disk', ({ path, target, stack }) => {
  const source = join(path, 'source')
  files(source, { a: [0, 0], b: [12, 99], c: [777, 0] })
  mountAll([{ type: 'bind', source, options: [...several, 'rw', 'rbind'] }], target)
  assert.deepEqual(stack(), ['tmpfs rw'])
  assert.deepEqual(owner(target), [5000, 7000])
  assert.deepEqual(owner(join(target, 'a')), [5000, 7000])
  assert.deepEqual(owner(join(target, 'b')), [6002, 7099])
  assert.deepEqual(owner(join(target, 'c')), [65534, 7000])
  fs.chownSync(join(target, 'a'), 5003, 7004)
  assert.deepEqual(owner(join(source, 'a')), [3, 4])
})

check('a mapped bind mount with ro cannot be written', ({ path, target, stack }) => {
  const source = join(path, 'source')
  files(source, { a: [1, 1] })
  mountAll([{ type: 'bind', source, options: [...several, 'ro', 'rbind'] }], target)
  assert.deepEqual(stack(), ['tmpfs ro'])
  assert.deepEqual(owner(join(target, 'a')), [5001, 7001])
  assert.throws(() => fs.writeFileSync(join(target, 'a'), ''), { code: 'EROFS' })
})

check('an overlay shows other owners below, and its own above', ({ path, target, stack }) => {
  const dir = (name: string): string => join(path, 'layers', name)
  files(dir('1'), { a: [0, 0], b: [11, 2] })
  files(dir('2'), { b: [12, 3] })
  for (const name of ['upper', 'work']) fs.mkdirSync(dir(name))
  fs.chownSync(dir('upper'), 5000, 7000)
  const writable = [`workdir=${dir('work')}`, `upperdir=${dir('upper')}`]
  const options = [...several, ...writable, `lowerdir=${dir('2')}:${dir('1')}`, 'index=off']
  mountAll([{ type: 'overlay', source: 'overlay', options }], target)
  assert.deepEqual(stack(), ['overlay rw'])
  assert.deepEqual(owner(target), [5000, 7000])
  assert.deepEqual(owner(join(target, 'a')), [5000, 7000])
  assert.deepEqual(owner(join(target, 'b')), [6002, 7003])
  fs.appendFileSync(join(target, 'a'), 'more')
  assert.deepEqual(owner(join(dir('upper'), 'a')), [5000, 7000])
  assert.deepEqual(owner(join(dir('1'), 'a')), [0, 0])
})

check('a mapped overlay can have two layers below, or two hundred', ({ path, target, stack }) => {
  for (const count of [2, 200]) {
    const lower = Array.from({ length: count }, (_, at) => join(path, `layers-${count}`, `${at}`))
    for (const [at, each] of lower.entries()) files(join(each, 'fs'), { [`file-${at}`]: [1, 1] })
    const names = lower.map((each) => join(each, 'fs')).join(':')
    const options = [...several, `lowerdir=${names}`]
    mountAll([{ type: 'overlay', source: 'overlay', options }], target)
    assert.deepEqual(stack(), ['overlay rw'])
    assert.deepEqual(owner(join(target, `file-${count - 1}`)), [5001, 7001])
    unmountRecursive(target)
    assert.deepEqual(stack(), [])
  }
})

check('one that fails leaves nothing mounted', ({ path, target, stack }) => {
  const overlay = (lower: string, map: readonly string[] = several): void => {
    const options = [...map, `lowerdir=${lower}`]
    mountAll([{ type: 'overlay', source: 'overlay', options }], target)
  }
  fs.mkdirSync(join(path, 'layers/1'), { recursive: true })
  const layer = join(path, 'layers/1')
  assert.throws(() => overlay(`${layer}:${join(path, 'layers/none')}`), { code: 'ENOENT' })
  const refused = (...map: readonly string[]): void => {
    assert.throws(
      () => overlay(layer, map),
      (err) => codeOf(err) === 'invalid_argument',
    )
  }
  refused('uidmap=0:1:1')
  refused('gidmap=0:1:1')
  refused('uidmap=0:1', 'gidmap=0:1:1')
  assert.throws(
    () => overlay('/etc:/usr'),
    (err) => codeOf(err) === 'invalid_argument',
  )
  // The pseudo file system of processes can't be mapped.
  const proc = { type: 'proc', source: 'proc', options: several }
  assert.throws(() => mountAll([proc], target), { code: 'EINVAL' })
  assert.deepEqual(stack(), [])
})
