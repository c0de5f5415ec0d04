import assert from 'node:assert/strict'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { jsonTypes } from '#core/any/any.ts'
import { codeOf } from '#lib/errors/errors.ts'
import { mount } from '#sys/mount.ts'
import { root } from '#testing/root.ts'

import { type BundleRoots, bundleOf, createBundle, deleteBundle } from './bundle.ts'

const specOf = (value: object) => ({
  typeUrl: jsonTypes.spec,
  value: Buffer.from(JSON.stringify(value)),
})

const check = (title: string, body: (roots: BundleRoots) => Promise<void> | void): void => {
  void test(title, async (t) => {
    if (!root(t)) return
    await using dir = await mkdtempDisposable(join(tmpdir(), 'bundle-'))
    await body({ root: join(dir.path, 'root'), state: join(dir.path, 'state') })
  })
}

const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8)

suite('a bundle', () => {
  check('has the spec, a place for the root file system, and a link to its work', (roots) => {
    const spec = specOf({ ociVersion: '1.0.2' })
    const { path } = createBundle(roots, 'ns', 'a', spec)
    assert.equal(path, join(roots.state, 'ns', 'a'))
    assert.deepEqual(readdirSync(path).toSorted(), ['config.json', 'rootfs', 'work'])
    assert.deepEqual(readFileSync(join(path, 'config.json')), spec.value)
    assert.equal(readlinkSync(join(path, 'work')), join(roots.root, 'ns', 'a'))
    assert.deepEqual(
      [path, join(path, 'rootfs'), join(path, 'work'), join(roots.state, 'ns')].map(mode),
      ['700', '711', '711', '711'],
    )
  })

  check('is open to the group that the container calls root', (roots) => {
    const gidMappings = [{ containerID: 0, hostID: 70_000, size: 10 }]
    const { path } = createBundle(roots, 'ns', 'a', specOf({ linux: { gidMappings } }))
    assert.equal(mode(path), '710')
    assert.equal(statSync(path).gid, 70_000)
  })

  check('has a name that is taken once', (roots) => {
    createBundle(roots, 'ns', 'a', specOf({}))
    assert.throws(
      () => createBundle(roots, 'ns', 'a', specOf({})),
      (err) => codeOf(err) === 'already_exists',
    )
    createBundle(roots, 'other', 'a', specOf({}))
  })

  check('is not made for a bad name', (roots) => {
    for (const id of ['', '..', 'a/b', '.a']) {
      assert.throws(
        () => createBundle(roots, 'ns', id, specOf({})),
        (err) => codeOf(err) === 'invalid_argument',
      )
    }
    assert.ok(!existsSync(roots.state))
  })

  check('leaves nothing when it cannot be made', (roots) => {
    const broken = { typeUrl: jsonTypes.spec, value: Buffer.from('{"gidMappings') }
    assert.throws(
      () => createBundle(roots, 'ns', 'a', broken),
      (err) => codeOf(err) === 'invalid_argument',
    )
    assert.deepEqual(readdirSync(join(roots.state, 'ns')), [])
  })

  check('takes the place of a work directory that outlived a reboot', (roots) => {
    mkdirSync(join(roots.root, 'ns', 'a', 'old'), { recursive: true })
    const { path } = createBundle(roots, 'ns', 'a', specOf({}))
    assert.deepEqual(readdirSync(join(path, 'work')), [])
  })

  check('goes with its work and what is mounted in it', async (roots) => {
    const bundle = createBundle(roots, 'ns', 'a', specOf({}))
    const rootfs = join(bundle.path, 'rootfs')
    mount({ source: 'tmpfs', target: rootfs, type: 'tmpfs' })
    writeFileSync(join(rootfs, 'file'), '')
    await deleteBundle(bundle)
    assert.deepEqual(readdirSync(join(roots.state, 'ns')), [])
    assert.deepEqual(readdirSync(join(roots.root, 'ns')), [])
    await deleteBundle(bundle)
  })

  check('is not removed through its root file system', async (roots) => {
    const bundle = createBundle(roots, 'ns', 'a', specOf({}))
    const kept = join(bundle.path, 'rootfs', 'kept')
    writeFileSync(kept, '')
    await assert.rejects(deleteBundle(bundle), { code: 'ENOTEMPTY' })
    assert.ok(lstatSync(kept).isFile())
  })

  check('can be removed when only half of it is there', async (roots) => {
    const bundle = bundleOf(roots, 'ns', 'a')
    mkdirSync(bundle.path, { recursive: true })
    await deleteBundle(bundle)
    assert.ok(!existsSync(bundle.path))
  })

  check('that was being removed before does not stand in the way', async (roots) => {
    mkdirSync(join(roots.state, 'ns', '.a', 'rest'), { recursive: true })
    await deleteBundle(createBundle(roots, 'ns', 'a', specOf({})))
    assert.deepEqual(readdirSync(join(roots.state, 'ns')), [])
  })
})
