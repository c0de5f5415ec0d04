import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { distributionSource, mountCandidates } from './distribution-source.ts'

const key = 'containerd.io/distribution.source.reg.example'

suite('where a blob came from', () => {
  test('is noted once for each repository, in order, without the port', () => {
    const first = distributionSource('reg.example:5000/team/b:1', {})
    assert.deepEqual(first, { [key]: 'team/b' })
    const second = distributionSource('reg.example:5000/team/a:1', first)
    assert.deepEqual(second, { [key]: 'team/a,team/b' })
    assert.deepEqual(distributionSource('reg.example:5000/team/a:2', second), second)
  })

  test('is left out when a label cannot hold it', () => {
    const full = { [key]: 'x'.repeat(4096 - key.length) }
    assert.deepEqual(distributionSource('reg.example/a:1', full), {})
  })

  test('is where it is mounted from, the nearest first', () => {
    const labels = { [key]: 'other/app,team/app,team/web,team/x/y' }
    assert.deepEqual(mountCandidates('reg.example/team/x/z:1', labels), [
      'team/x/y',
      'team/app',
      'team/web',
      'other/app',
    ])
    assert.deepEqual(mountCandidates('reg.example/team/app:1', { [key]: 'team/app' }), [])
    assert.deepEqual(mountCandidates('elsewhere.example/team/x:1', labels), [])
  })
})
