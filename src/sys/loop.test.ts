import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { type TestContext, test } from 'node:test'

import { root } from '#testing/root.ts'

import { attachLoop, detachLoop, setAutoclear } from './loop.ts'
import { mountInfo } from './mount-info.ts'
import { mountAll, unmountRecursive } from './mount.ts'

/** What the kernel says of a device: undefined once it is free. */
function state(device: string, name: string): string | undefined {
  const path = join('/sys/block', basename(device), 'loop', name)
  try {
    return fs.readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}

interface Given extends Disposable {
  readonly dir: string
  /** An ext4 of 8 MiB. */
  readonly file: string
  readonly target: string
}

function given(): Given {
  const dir = fs.mkdtempSync(join(tmpdir(), 'wharf-loop-'))
  const [file, target] = [join(dir, 'image'), join(dir, 'target')]
  fs.writeFileSync(file, '')
  fs.truncateSync(file, 8 << 20)
  execFileSync('mkfs.ext4', ['-q', '-F', file])
  fs.mkdirSync(target)
  return {
    dir,
    file,
    target,
    [Symbol.dispose]: () => {
      unmountRecursive(dir)
      fs.rmSync(dir, { recursive: true })
    },
  }
}

const check = (title: string, body: (g: Given, t: TestContext) => void): void =>
  void test(title, (t) => {
    if (!root(t)) return
    if (!fs.existsSync('/dev/loop-control')) return t.skip('no loop devices')
    using g = given()
    body(g, t)
  })

check('a device shows its file, and is given back with its last user', ({ file }) => {
  const device = attachLoop(file)
  assert.equal(state(device.path, 'backing_file'), file)
  assert.equal(state(device.path, 'autoclear'), '1')
  const content = Buffer.alloc(8 << 20)
  fs.readSync(device.fd, content, 0, content.length, 0)
  assert.ok(content.equals(fs.readFileSync(file)))
  device[Symbol.dispose]()
  assert.notEqual(state(device.path, 'backing_file'), file)
})

check('a device that is read-only leaves its file alone', ({ file }) => {
  fs.chmodSync(file, 0o400)
  using device = attachLoop(file, { readOnly: true })
  assert.equal(fs.readFileSync(join('/sys/block', basename(device.path), 'ro'), 'utf8'), '1\n')
  const before = fs.readFileSync(file)
  assert.throws(() => fs.writeFileSync(device.path, Buffer.alloc(4096, 1), { flush: true }))
  assert.ok(before.equals(fs.readFileSync(file)))
})

check('a device that is kept stays until it is detached', ({ file }) => {
  const { path, ...device } = attachLoop(file, { keep: true })
  device[Symbol.dispose]()
  assert.equal(state(path, 'backing_file'), file)
  detachLoop(path)
  assert.notEqual(state(path, 'backing_file'), file)
})

check('a device that was kept can be let go with its last user', ({ file }) => {
  const { path, fd, ...device } = attachLoop(file, { keep: true })
  setAutoclear(fd, true)
  assert.equal(state(path, 'autoclear'), '1')
  setAutoclear(fd, false)
  assert.equal(state(path, 'autoclear'), '0')
  setAutoclear(fd, true)
  device[Symbol.dispose]()
  assert.notEqual(state(path, 'backing_file'), file)
})

check('many at once get a device each', ({ file }) => {
  using devices = new DisposableStack()
  const paths = Array.from({ length: 12 }, () => devices.use(attachLoop(file, { readOnly: true })))
  assert.equal(new Set(paths.map(({ path }) => path)).size, 12)
})

check('a file that is not there is named', ({ dir }) => {
  assert.throws(() => attachLoop(join(dir, 'none')), { code: 'ENOENT', path: join(dir, 'none') })
})

check('a file is mounted by the option loop, and its device goes with the mount', (g) => {
  mountAll([{ type: 'ext4', source: g.file, options: ['loop', 'rw', 'noatime'] }], g.target)
  fs.writeFileSync(join(g.target, 'a'), 'kept')
  const device = mountInfo().find(({ mountPoint }) => mountPoint === g.target)?.source ?? ''
  assert.equal(state(device, 'backing_file'), g.file)
  unmountRecursive(g.target)
  assert.notEqual(state(device, 'backing_file'), g.file)
  mountAll([{ type: 'ext4', source: g.file, options: ['ro', 'loop', 'direct-io'] }], g.target)
  const again = mountInfo().find(({ mountPoint }) => mountPoint === g.target)?.source ?? ''
  assert.equal(state(again, 'dio'), '1')
  assert.equal(fs.readFileSync(join(g.target, 'a'), 'utf8'), 'kept')
  assert.throws(() => fs.writeFileSync(join(g.target, 'b'), ''), { code: 'EROFS' })
})

check('a mount that fails leaves no device', (g) => {
  fs.truncateSync(g.file, 0)
  fs.truncateSync(g.file, 8 << 20)
  const mount = { type: 'ext4', source: g.file, options: ['loop'] }
  assert.throws(() => mountAll([mount], g.target), { code: 'EINVAL' })
  const backing = fs
    .readdirSync('/sys/block')
    .filter((name) => name.startsWith('loop'))
    .map((name) => state(name, 'backing_file'))
  assert.ok(!backing.includes(g.file))
})
