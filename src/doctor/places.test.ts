import assert from 'node:assert/strict'
import { mkdtempDisposableSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { codeOf } from '#lib/errors/errors.ts'

import { findPlaces } from './places.ts'

test('places are those of containerd, of the configuration, or of the flags', () => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-places-'))
  const config = join(dir.path, 'config.toml')
  writeFileSync(
    config,
    'version = 2\nroot = "/a"\nstate = "/b"\n' +
      '[plugins."io.containerd.snapshotter.v1.overlayfs"]\nroot_path = "/fast/overlay"\n',
  )
  const { root, state, snapshotters } = findPlaces({ config })
  assert.deepEqual([root, state], ['/a', '/b'])
  assert.deepEqual(snapshotters, [
    { name: 'overlayfs', root: '/fast/overlay' },
    { name: 'native', root: '/a/io.containerd.snapshotter.v1.native' },
  ])
  assert.equal(findPlaces({ config, root: '/c' }).content, '/c/io.containerd.content.v1.content')
  assert.equal(findPlaces({}).root, '/var/lib/containerd')
})

test('a configuration that cannot be parsed is refused', () => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-places-'))
  const config = join(dir.path, 'config.toml')
  writeFileSync(config, 'root = ')
  assert.throws(
    () => findPlaces({ config }),
    (err) => codeOf(err) === 'invalid_argument',
  )
})
