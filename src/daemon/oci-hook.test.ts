import assert from 'node:assert/strict'
import { test } from 'node:test'

import { fill, type HookState } from './oci-hook.ts'

const state: HookState = {
  id: 'c1',
  bundle: '/b',
  rootfs: '/b/rootfs',
  pid: 7,
  status: 'created',
  annotations: { 'a.b/c': 'x' },
}

test('words are filled with what the runtime says of the container', () => {
  for (const [word, expected] of [
    ['plain', 'plain'],
    ['{{id}}', 'c1'],
    ['--at={{ rootfs }}:{{bundle}}', '--at=/b/rootfs:/b'],
    ['{{pid}}/{{status}}', '7/created'],
    ['{{annotation "a.b/c"}}{{annotation "none"}}', 'x'],
    ['{ {id} }', '{ {id} }'],
  ] as const) {
    assert.equal(fill(word, state), expected)
  }
})

test('what cannot be filled is named', () => {
  for (const word of ['{{name}}', '{{id', 'x{{', '{{.ID}}', '{{annotation}}', '{{id "x"}}']) {
    assert.throws(() => fill(word, state), { code: 'invalid_argument', message: /\{\{/ })
  }
})
