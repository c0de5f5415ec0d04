import assert from 'node:assert/strict'
import { test } from 'node:test'

import { createWarnings } from './warnings.ts'

test('what is used twice is told once, with the latest time', () => {
  const service = createWarnings()
  assert.deepEqual(service.warnings(), [])
  service.emit('io.containerd.deprecation/cgroup-v1')
  const [first] = service.warnings()
  service.emit('io.containerd.deprecation/cgroup-v1')
  const [second, ...others] = service.warnings()
  assert.deepEqual(others, [])
  assert.ok(first && second && first.lastOccurrence <= second.lastOccurrence)
  assert.match(second.message, /cgroup v2/)
})
