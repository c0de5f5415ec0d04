import assert from 'node:assert/strict'
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { mkdtempDisposableSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'

import { root } from '#testing/root.ts'

import { servedSource } from './mount-trust.ts'
import { mount, unmount } from './mount.ts'

const bind = (source: string) => ({ type: 'bind', source, options: ['rbind'] })

test('a file system that somebody else answers for is found without being asked', (t: TestContext) => {
  if (!root(t)) return
  using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-served-'))
  using scope = new DisposableStack()
  const place = join(dir.path, 'fuse')
  mkdirSync(place)
  const fd = openSync('/dev/fuse', 'r+')
  scope.defer(() => closeSync(fd))
  // Nobody ever answers: whoever looked into it would stay.
  const data = `fd=${fd},rootmode=40000,user_id=0,group_id=0`
  mount({ type: 'fuse', source: 'silent', target: place, data })
  scope.defer(() => unmount(place, { detach: true }))

  const overlay = (options: readonly string[]) => ({ type: 'overlay', source: 'overlay', options })
  const inside = join(place, 'a/b')
  assert.equal(servedSource([bind(dir.path)]), undefined)
  assert.equal(servedSource([bind(`${place}2`)]), undefined)
  assert.equal(servedSource([bind(dir.path), bind(inside)]), inside)
  assert.equal(servedSource([overlay([`lowerdir=/usr:${inside}`])]), inside)
  assert.equal(servedSource([overlay(['lowerdir=/usr', `upperdir=${inside}`])]), inside)
  assert.equal(servedSource([overlay(['lowerdir=/usr:/etc'])]), undefined)
  assert.equal(servedSource([{ type: 'nfs', source: 'far:/x', options: [] }]), 'far:/x')

  mount({ type: 'tmpfs', source: 'tmpfs', target: place })
  scope.defer(() => unmount(place))
  assert.equal(servedSource([bind(inside)]), undefined)
})
